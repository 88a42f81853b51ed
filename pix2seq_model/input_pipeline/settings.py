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

    What is published is scale, crop and flip; the rest is off. Colours, blur and cut-out change
    what is seen of the image, once it has its size, and leave its boxes as they are.

    Attributes:
      scale_min: the image is resized so that it would just fit into the target times a factor
        drawn uniformly from this ...
      scale_max: ... to this.
      crop: where the part that is seen lies in an image that is larger than the target.
        "anywhere": both its offsets are drawn, and every part is seen as often. "diagonal": one
        number draws both, so that crops lie on the diagonal of the places they could take, and
        the scaled size is cut to whole pixels instead of rounded. There is no reason for it but
        that the published models were trained so.
      flip: mirror left to right half of the time.
      flip_vertical: mirror top to bottom half of the time, for images that have no up.
      turn: by 0, 90, 180 or 270 degrees, each as often, for such images too.
      brightness: adds a number drawn from plus or minus this to all values, which are 0 to 1.
      contrast: multiplies the distance to the mean of each channel by 1 plus or minus up to this.
      saturation: multiplies the saturation by 1 plus or minus up to this.
      hue: moves the hue by plus or minus up to this, 0.5 being half of the colour circle.
      grey: share of the images that lose their colours.
      blur: share of the images that are blurred by a Gaussian ...
      blur_sigma: ... whose standard deviation in pixels is drawn from 0.1 to this.
      cutout: share of the images in which a rectangle becomes grey (arXiv:1708.04552); objects
        below it stay in the sequence ...
      cutout_size: ... whose sides are drawn up to this share of the image's.

    Raises:
      ConfigError: a value that cannot work.
    """

    scale_min: float = setting(0.3, above=0)
    scale_max: float = setting(2.0, above=0)
    crop: str = setting("anywhere", one_of=("anywhere", "diagonal"))
    flip: bool = True
    flip_vertical: bool = False
    turn: bool = False
    brightness: float = setting(0.0, at_least=0, at_most=1)
    contrast: float = setting(0.0, at_least=0, at_most=1)
    saturation: float = setting(0.0, at_least=0, at_most=1)
    hue: float = setting(0.0, at_least=0, at_most=0.5)
    grey: float = setting(0.0, at_least=0, at_most=1)
    blur: float = setting(0.0, at_least=0, at_most=1)
    blur_sigma: float = setting(2.0, at_least=0.1, at_most=20)
    cutout: float = setting(0.0, at_least=0, at_most=1)
    cutout_size: float = setting(0.3, above=0, at_most=1)

    def __post_init__(self) -> None:
        check_settings(self, "augmentation")
        if self.scale_min > self.scale_max:
            raise ConfigError(
                f"augmentation.scale_min={self.scale_min} and scale_max={self.scale_max}: they "
                "must satisfy 0 < scale_min <= scale_max."
            )
