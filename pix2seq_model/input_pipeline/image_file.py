"""An image file as a person or a job hands it over, made ready for the network.

Every way of using a model (files, batch jobs, the web page) prepares images by this function: to
the JPEG or PNG that a record would hold, then by the operations of evaluation. The served model
does so in its graph for most kinds: what is found does not depend on the way.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from pix2seq_model.data.image_check import ImageDefect, pixels_held, plain_image
from pix2seq_model.input_pipeline.preprocessing import decode_image, preprocess_image

# At most, while an image is decoded, made floats and resized.
BYTES_PER_PIXEL = 30
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_NOT_DECODED = "damaged behind its header: it cannot be decoded"


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image that can be decoded.

    Attributes:
      height, width: of the image as it is prepared: turned, if EXIF says so.
      image: float32 (*image_size, 3) in [0, 1], resized and padded for the network.
      content_size: int32 (2,), height and width in pixels that it takes of `image`.
      key: see `preprocessing.image_key`.
      is_turned: it was turned, as EXIF says.
      pixels: uint8 (height, width, 3); empty if they were not kept.
      plain: JPEG or PNG with these pixels, if the file itself is not that and pixels were kept.
    """

    height: int
    width: int
    image: np.ndarray
    content_size: np.ndarray
    key: int
    is_turned: bool
    pixels: np.ndarray
    plain: bytes | None = None


def prepare_image(
    encoded: bytes,
    *,
    image_size: tuple[int, int],
    resize: str = "antialias",
    keep_pixels: bool = True,
    **limits: Any,
) -> PreparedImage:
    """Decodes an image file and prepares it.

    Args:
      encoded: the file, of any kind that a conversion takes.
      image_size: height and width in pixels of the network's input.
      resize: one of `settings.RESIZES`.
      keep_pixels: also return the decoded image, which may be large.
      **limits: max_pixels and apply_exif, see `plain_image`.

    Raises:
      ImageDefect: a rule of `defects.DROPPED_IMAGES`, with the reason in words.
    """
    checked = plain_image(encoded, **limits)
    size = checked.height * checked.width * BYTES_PER_PIXEL
    with pixels_held(size), tf.device("CPU"):
        try:
            pixels = decode_image(checked.encoded)
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
            raise ImageDefect("image_not_decodable", _NOT_DECODED) from None
        prepared = preprocess_image(pixels, image_size, resize=resize)
        kept = pixels.numpy() if keep_pixels else _NO_PIXELS
        del pixels  # Before another image gets its place.
    return dataclasses.replace(
        _prepared(prepared, kept),
        is_turned=checked.is_turned,
        plain=checked.encoded if keep_pixels and checked.encoded is not encoded else None,
    )


def prepare_pixels(
    pixels: np.ndarray,
    *,
    image_size: tuple[int, int],
    resize: str = "antialias",
    keep_pixels: bool = True,
) -> PreparedImage:
    """Prepares a decoded image.

    Args:
      pixels: uint8 (height, width, 3), RGB, upright.
      image_size: height and width in pixels of the network's input.
      resize: one of `settings.RESIZES`.
      keep_pixels: also return the decoded image.

    Raises:
      ImageDefect: this machine has not the memory for it.
    """
    size = pixels.shape[0] * pixels.shape[1] * BYTES_PER_PIXEL
    with pixels_held(size), tf.device("CPU"):
        prepared = preprocess_image(tf.constant(pixels), image_size, resize=resize)
    return _prepared(prepared, pixels if keep_pixels else _NO_PIXELS)


def _prepared(prepared: dict[str, tf.Tensor], pixels: np.ndarray) -> PreparedImage:
    height, width = prepared["source_size"].numpy().tolist()
    return PreparedImage(
        height=height,
        width=width,
        image=prepared["image"].numpy(),
        content_size=prepared["content_size"].numpy(),
        key=int(prepared["image_key"]),
        is_turned=False,
        pixels=pixels,
    )
