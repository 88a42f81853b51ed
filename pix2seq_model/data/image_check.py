"""Whether a file is an image that can be used; mostly from its header alone.

JPEG and PNG files pass through byte for byte, with the format that their content says; kinds that
few readers decode (CMYK, more than 8 bit, palette and alpha, GIF, BMP, WEBP, TIFF, AVIF) become
plain RGB: transparency on white, values of more than 8 bits scaled from the image's own range.
Records and every use of a model have their pixels from here.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from pix2seq_model.data.pixel_budget import pixel_budget
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.data.wrong_content import describe_content
from pix2seq_model.errors import UnavailableError

# The user's limit, `max_pixels`, is the only one: Pillow's own would refuse what that allows.
Image.MAX_IMAGE_PIXELS = None

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")
# What files of these formats are called.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif"),
    *(".webp", ".tif", ".tiff", ".avif"),
)
# A JPEG file with several pictures in it is opened as a JPEG and then calls itself MPO.
_JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_END = b"\xff\xd9"
# Where a PNG file says its bits per channel, which Pillow's mode does not tell.
_PNG_BIT_DEPTH = 24
_TIFF_BIT_DEPTH = 258
_PLAIN_MODES = ("RGB", "L")
_SUFFIX_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
_JPEG_QUALITY = 95
_ORIENTATION = 0x0112  # EXIF
_UPRIGHT, _SIDEWAYS = 1, (5, 6, 7, 8)
# Of 16-bit colours Pillow gives the upper 8 bits; those of 12-bit values would be nearly black.
_LEAST_OF_UPPER_BITS = 64
_FEW_LEVELS = 8
# Of a pixel, at most, while an image is decoded and made plain; with its own range scaled.
_DECODED_BYTES, _SCALED_BYTES = 20, 36


class ImageDefect(Exception):  # noqa: N818 - what is wrong with data, not with the program
    """The image breaks `rule`, a key of `defects.DROPPED_IMAGES`."""

    def __init__(self, rule: str, detail: str):
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


@dataclasses.dataclass(frozen=True)
class CheckedImage:
    """An image for a record.

    Attributes:
      encoded: the file as it is to be stored.
      image_format: `jpeg` or `png`.
      height, width: pixels.
      changes: (rule, detail) of `defects.CHANGED_IMAGES` that apply.
      is_turned: its pixels were turned as EXIF says.
    """

    encoded: bytes
    image_format: str
    height: int
    width: int
    changes: tuple[tuple[str, str], ...]
    is_turned: bool = False


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.UnidentifiedImageError:
        kinds = ", ".join(_FORMATS)
        detail = f"not an image ({kinds}) that can be read: the file {describe_content(data)}"
        raise ImageDefect("image_not_decodable", detail) from None
    except Exception as error:  # A damaged header makes Pillow raise almost anything.
        detail = f"not an image that can be read: {error!r}"[:200]
        raise ImageDefect("image_not_decodable", detail) from None
    width, height = image.size
    if width * height > max_pixels:
        raise ImageDefect(
            "image_too_large", f"{width} x {height} pixels; the limit is {max_pixels:,}"
        )
    return image


def _decode(image: ImageFile.ImageFile) -> None:
    try:
        image.load()
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ...
        rule = "image_truncated" if "truncated" in str(error) else "image_not_decodable"
        raise ImageDefect(rule, str(error)[:200] or repr(error)) from None


def _lacks_end(data: bytes, image: ImageFile.ImageFile) -> bool:
    """Whether the file may be cut off; some whole JPEG files carry more bytes after their end."""
    if image.format in _JPEG_FORMATS:
        return not data.endswith(_JPEG_END)
    return image.format == "PNG" and b"IEND" not in data[-16:]


def _bits_per_channel(image: ImageFile.ImageFile, data: bytes) -> int:
    if image.format == "PNG":
        return data[_PNG_BIT_DEPTH]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(_TIFF_BIT_DEPTH, (8,)))
    return 8


def _is_plain(image: ImageFile.ImageFile, data: bytes) -> bool:
    if image.format == "PNG" and _bits_per_channel(image, data) > 8:
        return False
    is_known = image.format in (*_JPEG_FORMATS, "PNG") and image.mode in _PLAIN_MODES
    return is_known and "transparency" not in image.info  # A colour may be named transparent.


def _orientation(image: ImageFile.ImageFile) -> int:
    """EXIF's, 1 to 8; Pillow turns a TIFF by itself, and says its turned size."""
    if image.format == "TIFF" or "exif" not in image.info:
        return _UPRIGHT
    try:
        orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:  # As of other damaged headers.
        return _UPRIGHT
    return orientation if orientation in range(1, 9) else _UPRIGHT


def upright_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns height and width in pixels of an image file, turned as EXIF says.

    Raises:
      ImageDefect: the file is no image that can be read, or larger than `max_pixels`.
    """
    image = _open(data, max_pixels)
    width, height = image.size
    return (width, height) if _orientation(image) in _SIDEWAYS else (height, width)


def _grey_of_own_range(image: Image.Image) -> tuple[Image.Image, str]:
    """Scales floats, or integers of more than 8 bits, from least and greatest to 0 and 255."""
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ImageDefect("image_not_decodable", "no pixel is a finite number")
    low, high = finite.min(), finite.max()
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    start = low if low < high else min(low, 0.0)  # All alike: white, or black if it is 0.
    scaled = np.round((values - start) * 255 / (high - start or 1)).astype(np.uint8)
    return Image.fromarray(scaled), f"{low:g} to {high:g}"


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _check_upper_bits(image: Image.Image) -> None:
    if np.asarray(image.convert("RGB")).max() < _LEAST_OF_UPPER_BITS:
        raise ImageDefect(
            "image_not_decodable",
            "colours of more than 8 bits that use the lower bits alone, and would be nearly black: "
            "save it with 8 bits a channel",
        )


def _plain(
    image: ImageFile.ImageFile, data: bytes, *, turn: bool
) -> tuple[bytes, str, list[tuple[str, str]]]:
    """The file as JPEG or PNG of 8-bit grey or RGB: (file, format, changes); decodes if it must."""
    image_format = "jpeg" if image.format in _JPEG_FORMATS else "png"
    is_plain = _is_plain(image, data)
    if is_plain and not turn:
        return data, image_format, []
    kind = f"{image.format} of mode {image.mode}"
    changes = [] if is_plain else [("image_reencoded", kind)]
    bits = _bits_per_channel(image, data)
    pixels: Image.Image = image
    if image.mode.startswith(("I", "F")):
        pixels, scale = _grey_of_own_range(image)
        changes = [("image_reencoded", f"{kind}, {scale} scaled to 0 to 255")]
        used = sum(count > 0 for count in pixels.histogram())
        if used < _FEW_LEVELS:
            detail = f"{kind}: {scale} scaled to {used} grey levels"
            changes.append(("image_few_grey_levels", detail))
    elif bits > 8 and image.mode != "CMYK":
        _check_upper_bits(image)
    if turn:
        orientation = _orientation(image)
        pixels.getexif()[_ORIENTATION] = orientation  # Scaled pixels have lost it.
        pixels = ImageOps.exif_transpose(pixels)
        changes.append(("image_turned", f"EXIF orientation {orientation}"))
    buffer = io.BytesIO()
    options = {"quality": _JPEG_QUALITY, "subsampling": 0} if image_format == "jpeg" else {}
    _as_rgb(pixels).save(buffer, image_format, **options)
    return buffer.getvalue(), image_format, changes


def _is_to_be_turned(
    size: tuple[int, int], orientation: int, expected: tuple[int, int] | None
) -> tuple[bool, list[tuple[str, str]]]:
    """Whether boxes are of the turned image, and a warning if the sizes do not tell.

    Args:
      size: height and width of the pixels as they are stored.
      orientation: EXIF's.
      expected: height and width of the annotation file, if it gives them.

    Raises:
      ImageDefect: the sizes differ, turned or not.
    """
    height, width = size
    if expected not in (None, size):
        if expected == (width, height) and orientation in _SIDEWAYS:
            return True, []
        detail = (
            f"the file has {width} x {height} pixels, the JSON says {expected[1]} x {expected[0]}"
        )
        if expected == (width, height):
            detail += " (turned, and the file has no EXIF note that says which way)"
        raise ImageDefect("image_wrong_size", detail)
    tells = expected is not None and height != width and orientation in _SIDEWAYS
    if orientation == _UPRIGHT or tells:
        return False, []
    detail = f"EXIF orientation {orientation}, {width} x {height} pixels as stored"
    return False, [("image_orientation_unclear", detail)]


def check_image(
    data: bytes,
    *,
    file_name: str,
    expected_size: tuple[int, int] | None,
    max_pixels: int,
    decode: bool = False,
) -> CheckedImage:
    """Checks one image file.

    Args:
      data: the file.
      file_name: its name; the suffix is compared with the content.
      expected_size: height and width of the annotation file, if it gives them.
      max_pixels: larger images are refused before they are decoded.
      decode: decode all pixels, to find damage inside; much slower.

    Raises:
      ImageDefect: the image cannot be used.
      UnavailableError: this machine has not the memory to decode it; it says nothing of the image.
    """
    image = _open(data, max_pixels)
    width, height = image.size
    turn, changes = _is_to_be_turned((height, width), _orientation(image), expected_size)
    if expected_size is None:
        changes.append(("image_size_missing", f"the file has {width} x {height} pixels"))
    checked = _checked(image, data, turn=turn, decode=decode)
    changes += checked.changes
    named = _SUFFIX_FORMATS.get(os.path.splitext(file_name)[1].lower())
    if named is not None and named != checked.image_format:
        changes.append(("image_format_mismatch", f"{file_name} is a {image.format} file"))
    return dataclasses.replace(checked, changes=tuple(changes))


def plain_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, apply_exif: bool = True
) -> CheckedImage:
    """An image file to be looked at by a model, as a record would hold it.

    Args:
      data: the file.
      max_pixels: larger images are refused before they are decoded.
      apply_exif: turn it upright as EXIF says. Not for a record's: its boxes are of its pixels.

    Raises:
      ImageDefect: the image cannot be used.
    """
    image = _open(data, max_pixels)
    with _too_large_for_machine():
        return _checked(image, data, turn=apply_exif and _orientation(image) != _UPRIGHT)


def decoded_bytes(image: Image.Image) -> int:
    """What `image` takes of memory at most, while it is decoded and made plain RGB."""
    per_pixel = _SCALED_BYTES if image.mode.startswith(("I", "F")) else _DECODED_BYTES
    return image.size[0] * image.size[1] * per_pixel


@contextlib.contextmanager
def pixels_held(size: int) -> Iterator[None]:
    """`size` bytes of the process's budget; raises ImageDefect if no image may have as many."""
    with _too_large_for_machine(), pixel_budget().hold(size):
        yield


@contextlib.contextmanager
def _too_large_for_machine() -> Iterator[None]:
    try:
        yield
    except UnavailableError as error:
        raise ImageDefect("image_too_large", str(error)) from None


def upright_pixels(image: Image.Image) -> np.ndarray:
    """The pixels of an image that Pillow has opened or made, as `plain_image` would store them.

    Returns:
      uint8 (height, width, 3), RGB, turned as the image's EXIF says.

    Raises:
      ImageDefect: it cannot be decoded, or this machine has not the memory for it.
    """
    try:
        with pixels_held(decoded_bytes(image)):
            turned = ImageOps.exif_transpose(image)
            scaled = turned.mode.startswith(("I", "F"))
            return np.array(_as_rgb(_grey_of_own_range(turned)[0] if scaled else turned))
    except ImageDefect:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ...
        raise ImageDefect("image_not_decodable", str(error)[:200] or repr(error)) from None


def _checked(
    image: ImageFile.ImageFile, data: bytes, *, turn: bool, decode: bool = False
) -> CheckedImage:
    sideways = turn and _orientation(image) in _SIDEWAYS
    is_decoded = decode or turn or _lacks_end(data, image) or not _is_plain(image, data)
    with pixel_budget().hold(decoded_bytes(image) if is_decoded else 0):
        if is_decoded:
            _decode(image)
        width, height = reversed(image.size) if sideways else image.size
        encoded, image_format, changes = _plain(image, data, turn=turn)
        image.close()  # And with it the pixels, before another image gets their place.
    return CheckedImage(encoded, image_format, height, width, tuple(changes), turn)
