"""An image file as a person or a job hands it over, made ready for the network.

Every way of using a model (files, batch jobs, the web page) prepares images by this function, as
evaluation and the served model do by the same operations: what is found does not depend on the way.
"""

import dataclasses
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.input_pipeline.preprocessing import decode_image, preprocess_image

_ORIENTATION = 0x0112  # EXIF
_UPRIGHT = 1
_NO_IMAGE = "not a JPEG, PNG, BMP or GIF that can be decoded"


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image that can be decoded.

    Attributes:
      height, width: of the file, as it is stored: a rotation noted in EXIF is not applied.
      image: float32 (*image_size, 3) in [0, 1], resized and padded for the network.
      content_size: int32 (2,), height and width in pixels that it takes of `image`.
      key: see `preprocessing.image_key`.
      is_turned: EXIF says that it is to be shown turned.
      pixels: uint8 (height, width, 3); empty if they were not kept.
    """

    height: int
    width: int
    image: np.ndarray
    content_size: np.ndarray
    key: int
    is_turned: bool
    pixels: np.ndarray


def prepare_image(
    encoded: bytes,
    *,
    image_size: tuple[int, int],
    resize: str = "antialias",
    max_pixels: int | None = None,
    keep_pixels: bool = True,
) -> PreparedImage:
    """Decodes an image file and prepares it.

    Args:
      encoded: the file.
      image_size: height and width in pixels of the network's input.
      resize: one of `settings.RESIZES`.
      max_pixels: larger images are refused by their header, before they are decoded.
      keep_pixels: also return the decoded image, which may be large.

    Raises:
      ImageDefect: `image_not_decodable` or `image_too_large`, with the reason in words.
    """
    if not encoded:
        raise ImageDefect("image_not_decodable", "the file is empty")
    is_turned = _check_header(encoded, max_pixels)
    with tf.device("CPU"):
        try:
            pixels = decode_image(encoded)
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
            raise ImageDefect("image_not_decodable", _NO_IMAGE) from None
        if not tf.size(pixels):
            raise ImageDefect("image_not_decodable", _NO_IMAGE)
        prepared = preprocess_image(pixels, image_size, resize=resize)
    return PreparedImage(
        height=pixels.shape[0],
        width=pixels.shape[1],
        image=prepared["image"].numpy(),
        content_size=prepared["content_size"].numpy(),
        key=int(prepared["image_key"]),
        is_turned=is_turned,
        pixels=pixels.numpy() if keep_pixels else np.empty((0, 0, 3), np.uint8),
    )


def _check_header(encoded: bytes, max_pixels: int | None) -> bool:
    """Refuses what is no image or too large; returns whether it is to be shown turned."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
    except Image.DecompressionBombError as error:
        raise ImageDefect("image_too_large", str(error)) from None
    except Exception:  # Damaged headers make Pillow raise almost anything.
        raise ImageDefect("image_not_decodable", _NO_IMAGE) from None
    if max_pixels is not None and width * height > max_pixels:
        raise ImageDefect(
            "image_too_large", f"{width} x {height} pixels; the limit is {max_pixels:,}"
        )
    return turned
