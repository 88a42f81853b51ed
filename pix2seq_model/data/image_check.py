"""Whether a file is an image that can be trained on; mostly from its header alone.

JPEG and PNG files pass through byte for byte, with the format that their content says; kinds that
few readers decode (CMYK, 16 bit, palette and alpha, GIF, BMP, WEBP, TIFF) become plain RGB.
"""

import dataclasses
import io
import os
import warnings

from PIL import Image, ImageFile

from pix2seq_model.data.wrong_content import describe_content

# Pillow's own limit warns first and refuses later; `max_pixels` comes before both.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
# A JPEG file with several pictures in it is opened as a JPEG and then calls itself MPO.
_JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_END = b"\xff\xd9"
# Where a PNG file says its bits per channel; 16-bit RGB has Pillow's mode of 8-bit RGB.
_PNG_BIT_DEPTH = 24
_PLAIN_MODES = ("RGB", "L")
_SUFFIX_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
_JPEG_QUALITY = 95


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
      encoded: The file as it is to be stored.
      image_format: `jpeg` or `png`.
      height, width: Pixels.
      changes: (rule, detail) of `defects.CHANGED_IMAGES` that apply.
    """

    encoded: bytes
    image_format: str
    height: int
    width: int
    changes: tuple[tuple[str, str], ...]


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageDefect("image_too_large", str(error)) from None
    except Image.UnidentifiedImageError:
        detail = f"the file {describe_content(data)}"
        raise ImageDefect("image_not_decodable", detail) from None
    except Exception as error:  # A damaged header makes Pillow raise almost anything.
        raise ImageDefect("image_not_decodable", repr(error)[:200]) from None
    width, height = image.size
    if width * height > max_pixels:
        raise ImageDefect("image_too_large", f"{width} x {height} pixels, limit {max_pixels}")
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


def _is_plain(image: ImageFile.ImageFile, data: bytes) -> bool:
    if image.format == "PNG" and data[_PNG_BIT_DEPTH : _PNG_BIT_DEPTH + 1] == b"\x10":
        return False
    return image.format in (*_JPEG_FORMATS, "PNG") and image.mode in _PLAIN_MODES


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip instead of scale.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _reencode(image: ImageFile.ImageFile, image_format: str) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": _JPEG_QUALITY, "subsampling": 0} if image_format == "jpeg" else {}
    _as_rgb(image).save(buffer, image_format, **options)
    return buffer.getvalue()


def _check_size(image: ImageFile.ImageFile, expected: tuple[int, int]) -> None:
    width, height = image.size
    if (height, width) == expected:
        return
    detail = f"the file has {width} x {height} pixels, the JSON says {expected[1]} x {expected[0]}"
    if (width, height) == expected:
        detail += " (turned: was the size taken after an EXIF rotation?)"
    raise ImageDefect("image_wrong_size", detail)


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
      data: The file.
      file_name: Its name; the suffix is compared with the content.
      expected_size: Height and width of the annotation file, if it gives them.
      max_pixels: Larger images are refused before they are decoded.
      decode: Decode all pixels, to find damage inside; much slower.

    Raises:
      ImageDefect: the image cannot be used.
    """
    image = _open(data, max_pixels)
    width, height = image.size
    changes = []
    if expected_size is None:
        changes.append(("image_size_missing", f"the file has {width} x {height} pixels"))
    else:
        _check_size(image, expected_size)
    if decode or _lacks_end(data, image) or not _is_plain(image, data):
        _decode(image)
    encoded, image_format = data, "jpeg" if image.format in _JPEG_FORMATS else "png"
    if not _is_plain(image, data):
        encoded = _reencode(image, image_format)
        changes.append(("image_reencoded", f"{image.format} of mode {image.mode}"))
    named = _SUFFIX_FORMATS.get(os.path.splitext(file_name)[1].lower())
    if named is not None and named != image_format:
        changes.append(("image_format_mismatch", f"{file_name} is a {image.format} file"))
    return CheckedImage(encoded, image_format, height, width, tuple(changes))
