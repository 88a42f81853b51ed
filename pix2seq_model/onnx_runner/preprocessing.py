"""An image file made ready for the encoder: `input_pipeline`'s operations, in NumPy and Pillow.

Pixels, sizes and keys are the same; resized values may differ in their last bits.
"""

import dataclasses
import io
from typing import Any

import numpy as np
from PIL import Image

from pix2seq_model.data.image_check import CheckedImage, ImageDefect, pixels_held, plain_image
from pix2seq_model.input_pipeline.settings import PADDING_GREY
from pix2seq_model.onnx_runner.fingerprint import fingerprint64

# At most, while an image is decoded, made floats and resized.
_BYTES_PER_PIXEL = 30


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image that can be decoded.

    Attributes:
      image: float32 (*image_size, 3) in [0, 1], resized and padded.
      content_size: (height, width) in pixels that it takes of `image`.
      height, width: of the image itself, upright.
      pixels: uint8 (height, width, 3); empty if they were not kept.
      is_turned: it was turned, as EXIF says.
    """

    image: np.ndarray
    content_size: tuple[int, int]
    height: int
    width: int
    pixels: np.ndarray
    is_turned: bool = False
    _key: int | None = None

    def key(self) -> int:
        """See `preprocessing.image_key`. Of kept pixels computed here and now: it takes time."""
        return fingerprint64(self.pixels.tobytes()) if self._key is None else self._key

    def without_pixels(self, *, has_key: bool) -> "PreparedImage":
        """As it is, but for its pixels, which may be large; `has_key` says whether it has a key."""
        key = self.key() if has_key else None
        return dataclasses.replace(self, pixels=np.empty((0, 0, 3), np.uint8), _key=key)


def prepare_image(
    encoded: bytes, *, image_size: tuple[int, int], resize: str, **limits: Any
) -> PreparedImage:
    """Decodes an image file and prepares it.

    Args:
      encoded: the file, of any kind that a conversion takes.
      image_size: height and width in pixels of the network's input.
      resize: one of `input_pipeline.settings.RESIZES`.
      **limits: max_pixels and apply_exif, see `image_check.plain_image`.

    Raises:
      ImageDefect: a rule of `defects.DROPPED_IMAGES`, with the reason in words.
    """
    checked = plain_image(encoded, **limits)
    size = checked.height * checked.width * _BYTES_PER_PIXEL
    with pixels_held(size):
        return _prepared(checked, image_size=image_size, resize=resize)


def _prepared(checked: CheckedImage, *, image_size: tuple[int, int], resize: str) -> PreparedImage:
    try:
        pixels = np.asarray(Image.open(io.BytesIO(checked.encoded)).convert("RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ...
        raise ImageDefect("image_not_decodable", f"cannot be decoded: {error}") from None
    prepared = _resized(pixels, image_size=image_size, resize=resize)
    return dataclasses.replace(prepared, is_turned=checked.is_turned)


def prepare_pixels(
    pixels: np.ndarray, *, image_size: tuple[int, int], resize: str
) -> PreparedImage:
    """Prepares an image, uint8 (height, width, 3); see `prepare_image`."""
    with pixels_held(pixels.shape[0] * pixels.shape[1] * _BYTES_PER_PIXEL):
        return _resized(pixels, image_size=image_size, resize=resize)


def _resized(pixels: np.ndarray, *, image_size: tuple[int, int], resize: str) -> PreparedImage:
    content_size = fitting_size((pixels.shape[0], pixels.shape[1]), image_size, resize=resize)
    values = pixels.astype(np.float32) * np.float32(1 / 255)
    for axis, size in enumerate(content_size):
        values = _resize(values, size, axis=axis, antialias=resize != "plain")
    padding = [(0, wanted - size) for wanted, size in zip(image_size, content_size)]
    padded = np.pad(values, [*padding, (0, 0)], constant_values=np.float32(PADDING_GREY))
    height, width = pixels.shape[:2]
    return PreparedImage(padded, content_size, height, width, pixels)


def fitting_size(
    size: tuple[int, int], image_size: tuple[int, int], *, resize: str
) -> tuple[int, int]:
    """Height and width of an image of `size` that fits `image_size`, its aspect kept."""
    if resize == "plain":
        # Whichever side decides: both products, rounded down.
        height, width = (
            max(1, min(side * wanted // other for wanted, other in zip(image_size, size)))
            for side in size
        )
        return height, width
    # In float32, so that halves fall as they do in TensorFlow.
    factor = min(np.float32(wanted) / np.float32(side) for wanted, side in zip(image_size, size))
    height, width = (max(1, int(np.round(factor * np.float32(side)))) for side in size)
    return height, width


def _resize(values: np.ndarray, size: int, *, axis: int, antialias: bool) -> np.ndarray:
    """Bilinear along one axis, which is 0 or 1.

    Each value is a mean of those under a triangle around its centre; with `antialias` the triangle
    is as many times as wide as the image becomes smaller.
    """
    source = values.shape[axis]
    if size == source:
        return values
    first, weights_ST = _triangles(source, size, antialias)
    result = np.zeros((*values.shape[:axis], size, *values.shape[axis + 1 :]), np.float32)
    shape = [1, 1, 1]
    shape[axis] = size
    for tap, weights_S in enumerate(weights_ST.T):
        place = np.minimum(first + tap, source - 1)
        result += values.take(place, axis=axis) * weights_S.reshape(shape)
    return result


def _triangles(source: int, size: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """(size,) the first value under each triangle; (size, taps) weights, their sum 1."""
    # In float32: TensorFlow's places, also of large images.
    step = np.float32(1) / (np.float32(size) / np.float32(source))
    radius = max(step, np.float32(1)) if antialias else np.float32(1)
    centers_S = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * step
    first_S = np.maximum(np.ceil(centers_S - radius - np.float32(0.5)), 0).astype(np.int64)
    last_S = np.floor(centers_S + radius - np.float32(0.5)).astype(np.int64)
    last_S = np.minimum(last_S, source - 1)
    places_ST = first_S[:, None] + np.arange(int((last_S - first_S).max()) + 1)
    distances_ST = np.abs(places_ST.astype(np.float32) + np.float32(0.5) - centers_S[:, None])
    weights_ST = np.maximum(np.float32(1) - distances_ST / radius, 0)
    weights_ST = np.where(places_ST <= last_S[:, None], weights_ST, 0)
    return first_S, weights_ST / weights_ST.sum(axis=1, keepdims=True)
