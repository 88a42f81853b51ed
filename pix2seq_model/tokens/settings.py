"""Settings of the training sequences, checked when a config is loaded. Needs no TensorFlow."""

import dataclasses

from pix2seq_model.setting_checks import check_settings, setting

# How the objects of an image are ordered; see object_order.py.
ORDERS = ("random", "area", "distance", "class", "class_area", "class_distance", "stored")

# What stands in the input in place of an object's class; named as in the published code.
CLASS_CORRUPTIONS = (
    "none",
    "rand_cls",  # a random class
    "real_n_fake_cls",  # the true class or the noise class, one as often as the other
    "rand_n_fake_cls",  # a random class or the noise class (published default)
    "real_n_rand_n_fake_cls",  # the true class, or else as rand_n_fake_cls
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceSettings:
    """How the objects of an image become a training sequence; the published ones by default.

    Attributes:
      max_objects: objects of a sequence; further ones are left out.
      order: one of ORDERS.
      noise_objects: fill the sequence with noise objects; if false it ends in padding.
      class_corruption: one of CLASS_CORRUPTIONS.
      padding_weight: weight of a padding target in the loss.
      near_duplicate_std: standard deviation by which the edges of a near-duplicate move, in
        heights and widths of its box.

    Raises:
      ConfigError: a value that cannot work.
    """

    max_objects: int = setting(100, at_least=1)
    order: str = setting("random", one_of=ORDERS)
    noise_objects: bool = True
    class_corruption: str = setting("rand_n_fake_cls", one_of=CLASS_CORRUPTIONS)
    padding_weight: float = setting(0.1, at_least=0)
    near_duplicate_std: float = setting(0.05, at_least=0)

    def __post_init__(self) -> None:
        check_settings(self, "sequence")
