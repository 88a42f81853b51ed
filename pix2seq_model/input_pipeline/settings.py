"""Settings of the training input, checked when a config is loaded. Needs no TensorFlow."""

import dataclasses

from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import check_settings, setting

# How images are resized outside of training: with antialias, the shorter side rounded, halves to
# even, as the published code does since November 2022; or plain, the shorter side rounded down, as
# it did when its table of results was made.
RESIZES = ("antialias", "plain")
# What images are filled up with at the bottom and right, of 0 to 1.
PADDING_GREY = 0.3
# What training images travel to the devices as.
IMAGE_DTYPES = ("uint8", "float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How the image is changed each time it is shown; all but `crop` published by default.

    Attributes:
      scale_min, scale_max: the image is resized so that it would just fit into the target times
        a factor drawn uniformly between these.
      crop: where the part that is seen lies in an image that is larger than the target.
        "anywhere": both its offsets are drawn, and every part is seen as often. "diagonal": one
        number draws both, so that crops lie on the diagonal of the places they could take, and
        the scaled size is cut to whole pixels instead of rounded. There is no reason for it but
        that the published models were trained so.
      flip: mirror left to right half of the time.

    Raises:
      ConfigError: a value that cannot work.
    """

    scale_min: float = setting(0.3, above=0)
    scale_max: float = setting(2.0, above=0)
    crop: str = setting("anywhere", one_of=("anywhere", "diagonal"))
    flip: bool = True

    def __post_init__(self) -> None:
        check_settings(self, "augmentation")
        if self.scale_min > self.scale_max:
            raise ConfigError(
                f"augmentation.scale_min={self.scale_min} and scale_max={self.scale_max}: they "
                "must satisfy 0 < scale_min <= scale_max."
            )
