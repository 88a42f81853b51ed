"""The `ablation` section of a config: which trials, on which images. Needs no TensorFlow."""

import dataclasses

from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import MAX_SEED, check_settings, setting
from pix2seq_model.synthetic.dataset import DemoSettings
from pix2seq_model.tokens.settings import ORDERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawSettings:
    """The images to draw.

    Attributes:
      seed: of all that is drawn.
      pretrain, train, val: number of images of each set.
      image_size: short and long side in pixels, about which the images' sizes vary.
    """

    seed: int = setting(0, at_least=0, at_most=MAX_SEED)
    pretrain: int = setting(2000, at_least=1)
    train: int = setting(2000, at_least=1)
    val: int = setting(300, at_least=1)
    image_size: tuple[int, int] = setting((64, 80), at_least=1)

    def __post_init__(self) -> None:
        check_settings(self, "ablation.draw")
        try:
            self.dataset()
        except ConfigError as error:
            raise ConfigError(f"ablation.draw: {error}") from None

    def dataset(self) -> DemoSettings:
        """As the demonstration's drawing takes them."""
        return DemoSettings(
            seed=self.seed,
            objects365_train=self.pretrain,
            objects365_val=1,
            coco_train=self.train,
            coco_val=self.val,
            image_size=self.image_size,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """Which trials are made; the paper's on generated images by default.

    Attributes:
      seeds: each trial is made with each.
      bins: of a coordinate, to compare.
      orders: of the objects, to compare.
      end_token_offsets: added to the end token's logit while decoding, to compare; empty: the
        question of the noise objects is not asked.
      pretrained: (noise objects in pretraining, in fine-tuning) of the trials that start from a
        pretrained model; empty: nothing after pretraining.
      draw_into: folder to draw demonstration images into; empty: the data is there already.
      draw: these images.

    Raises:
      ConfigError: a value that cannot work.
    """

    seeds: tuple[int, ...] = setting((0, 1, 2), at_least=0, at_most=MAX_SEED)
    bins: tuple[int, ...] = setting((4, 8, 16, 64), at_least=2)
    orders: tuple[str, ...] = setting(
        ("random", "area", "distance", "class", "class_area", "class_distance"), one_of=ORDERS
    )
    end_token_offsets: tuple[float, ...] = (0.0, -1.0, -2.0, -4.0, -8.0)
    pretrained: tuple[tuple[bool, bool], ...] = ((True, True), (False, False))
    draw_into: str = ""
    draw: DrawSettings = dataclasses.field(default_factory=DrawSettings)

    def __post_init__(self) -> None:
        check_settings(self, "ablation")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"ablation.seeds={self.seeds}: give one or more, all different.")

    @property
    def starts(self) -> tuple[tuple[bool | None, bool], ...]:
        """As `pretrained`, for all trials of the third question; None from random weights."""
        scratch = ((None, True), (None, False))
        return (*scratch, *self.pretrained) if self.end_token_offsets else ()
