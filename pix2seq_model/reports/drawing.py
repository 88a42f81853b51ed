"""Pictures for people: boxes with class names and scores on photographs, contact sheets.

Boxes are COCO's, [x, y, width, height] in pixels of the image that is drawn on.
"""

import base64
import colorsys
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from pix2seq_model.data.image_check import ImageDefect, decoded_bytes, pixels_held
from pix2seq_model.data.pixel_budget import pixel_budget
from pix2seq_model.errors import DataError
from pix2seq_model.reports.fonts import Font, font_for, is_drawable

_GOLDEN_RATIO = 0.618033988749895
# Of a pixel, at most, while a picture is copied and scaled, and while it becomes a file.
_DRAWN_BYTES, _WRITTEN_BYTES = 12, 16
_PAPER = (246, 246, 244)
_INK = (38, 38, 36)

Color = tuple[int, int, int]
Corners = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class LabelledBox:
    """A box to draw: xywh in pixels, the text of its tag, an RGB colour, perhaps dashed."""

    box: tuple[float, float, float, float]
    text: str
    color: Color
    dashed: bool = False


def read_rgb(encoded: bytes, *, source: str = "image") -> Image.Image:
    """Decodes JPEG, PNG or whatever Pillow reads into RGB.

    Pixels are taken as they are stored: a rotation noted in EXIF is not applied, as COCO's
    annotations and TensorFlow's decoder do not apply it either.

    Raises:
      DataError: the bytes are no image that Pillow can decode, or this machine has not the memory.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image, pixels_held(decoded_bytes(image)):
            return image.convert("RGB")
    except ImageDefect as defect:
        raise DataError(f"{source}: {defect.detail}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{source}: not an image that can be read ({error})") from None


def class_color(category_id: int) -> Color:
    """A colour of the class's own, the same in every picture; neighbours in id differ in hue."""
    hue = (category_id * _GOLDEN_RATIO) % 1.0
    value = (0.95, 0.78, 0.88)[category_id % 3]
    red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.78, value))
    return red, green, blue


def truth_boxes(
    annotations: Sequence[Mapping[str, Any]], names: Mapping[int, str]
) -> list[LabelledBox]:
    """Ground-truth annotations (COCO rows) as boxes to draw; crowds are dashed."""
    return [
        LabelledBox(
            box=tuple(row["bbox"]),
            text=_name(names, row["category_id"]) + (" (crowd)" if row.get("iscrowd") else ""),
            color=class_color(row["category_id"]),
            dashed=bool(row.get("iscrowd")),
        )
        for row in annotations
    ]


def detection_boxes(
    detections: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
    *,
    score_threshold: float = 0.0,
) -> list[LabelledBox]:
    """Detections (COCO results rows) of at least this score as boxes to draw, name and score."""
    return [
        LabelledBox(
            box=tuple(row["bbox"]),
            text=f"{_name(names, row['category_id'])} {row['score']:.2f}",
            color=class_color(row["category_id"]),
        )
        for row in sorted(detections, key=lambda row: row["score"])
        if row["score"] >= score_threshold
    ]


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[LabelledBox],
    *,
    longer_side: int | None = None,
    font_size: int | None = None,
) -> Image.Image:
    """A copy of `image` with boxes and tags, sharp at the size it is returned in.

    Args:
      image: the photograph that the boxes' pixels refer to.
      boxes: drawn in this order, so the last is on top; tags are over all outlines.
      longer_side: shrink or grow to this many pixels before drawing; None keeps the size.
      font_size: of the tags, in pixels; by the size of the picture if None.

    Raises:
      UnavailableError: this machine has not the memory for it.
    """
    longer_side = longer_side or max(image.size)
    scale = longer_side / max(image.size)
    with pixel_budget().hold(image.width * image.height * _DRAWN_BYTES):
        picture = (image.copy() if scale == 1.0 else _fitted(image, longer_side)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 180))
    crowded = len(boxes) > 15  # smaller tags hide less of the picture
    by_size = max(9, min(28, round(max(picture.size) / (56 if crowded else 42))))
    size = font_size or by_size
    corners = [_corners(item.box, scale, picture.size) for item in boxes]
    for item, place in zip(boxes, corners):
        if item.dashed:
            _dashed_rectangle(draw, place, item.color, line)
        else:
            draw.rectangle(place, outline=item.color, width=line)
    for item, place in zip(boxes, corners):
        if item.text:
            _tag(draw, place, item, size, picture.width)
    return picture


def contact_sheet(
    pictures: Sequence[Image.Image],
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    cell: int = 320,
) -> Image.Image:
    """Many pictures on one sheet, each within a square of `cell` pixels, a caption under each.

    Raises:
      ValueError: there are no pictures, or not as many captions as pictures.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    columns = columns or min(6, math.ceil(math.sqrt(len(pictures))))
    gap = max(6, cell // 40)
    size = max(10, min(18, cell // 22))
    foot = 0 if captions is None else round(1.6 * size)
    small = [_fitted(picture, cell) for picture in pictures]
    starts = range(0, len(small), columns)
    row_heights = [max(picture.height for picture in small[i : i + columns]) for i in starts]
    height = gap + sum(row_heights) + len(row_heights) * (foot + gap)
    sheet = Image.new("RGB", (gap + columns * (cell + gap), height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(small):
        row, column = divmod(index, columns)
        x = gap + column * (cell + gap)
        y = gap + sum(row_heights[:row]) + row * (foot + gap)
        height = row_heights[row]
        sheet.paste(picture, (x + (cell - picture.width) // 2, y + (height - picture.height) // 2))
        if captions is not None:
            font = font_for(captions[index], size)
            text = _shortened(captions[index], font, cell)
            middle = (x + cell / 2, y + height + foot / 2)
            draw.text(middle, text, fill=_INK, font=font, anchor="mm")
    return sheet


def jpeg_bytes(picture: Image.Image, *, quality: int = 85) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    options = {"quality": quality, "optimize": True, "progressive": True}
    with pixel_budget().hold(picture.width * picture.height * _WRITTEN_BYTES):
        picture.convert("RGB").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def data_uri(picture: Image.Image, *, quality: int = 82) -> str:
    """The picture as a `data:` address for a page that is one file."""
    encoded = base64.b64encode(jpeg_bytes(picture, quality=quality)).decode()
    return f"data:image/jpeg;base64,{encoded}"


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _name(names: Mapping[int, str], category_id: int) -> str:
    """Of a class; its id where no font can draw the name."""
    name = names.get(category_id, "").strip()
    return name if name and is_drawable(name) else f"class {category_id}"


def _corners(box_xywh: Sequence[float], scale: float, size: tuple[int, int]) -> Corners:
    """Left, top, right, bottom in the picture's pixels; clipped so that all sides are seen."""
    x, y, width, height = (value * scale for value in box_xywh)
    left = min(max(round(x), 0), size[0] - 1)
    top = min(max(round(y), 0), size[1] - 1)
    right = min(max(round(x + width) - 1, left), size[0] - 1)
    bottom = min(max(round(y + height) - 1, top), size[1] - 1)
    return left, top, right, bottom


def _dashed_rectangle(draw: ImageDraw.ImageDraw, corners: Corners, color: Color, line: int) -> None:
    left, top, right, bottom = corners
    dash = 5 * line + 3
    for start in range(left, right + 1, 2 * dash):
        end = min(start + dash, right)
        for y in (top, bottom - line + 1):
            draw.rectangle((start, y, end, y + line - 1), fill=color)
    for start in range(top, bottom + 1, 2 * dash):
        end = min(start + dash, bottom)
        for x in (left, right - line + 1):
            draw.rectangle((x, start, x + line - 1, end), fill=color)


def _tag(
    draw: ImageDraw.ImageDraw, corners: Corners, item: LabelledBox, size: int, most_right: int
) -> None:
    """The tag stands on the box's upper left corner, or inside it at the picture's upper edge."""
    left, top, *_ = corners
    font = font_for(item.text, size)
    pad = max(2, round(font.size / 6))
    width = round(draw.textlength(item.text, font=font)) + 2 * pad
    height = round(font.size * 1.25)
    x = max(0, min(left, most_right - width))
    y = top - height if top >= height else top
    draw.rectangle((x, y, x + width, y + height), fill=item.color)
    red, green, blue = item.color
    dark_text = 0.299 * red + 0.587 * green + 0.114 * blue > 140  # luma, ITU-R BT.601
    fill = (0, 0, 0) if dark_text else (255, 255, 255)
    draw.text((x + pad, y + height / 2), item.text, fill=fill, font=font, anchor="lm")


def _shortened(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
