"""From an image's annotation rows to the objects of its record, by the rules in `defects`."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from pix2seq_model.data.annotations import IS_FAKE, IS_REFLECTED, AnnotationRow
from pix2seq_model.data.defects import Defect
from pix2seq_model.data.records import ObjectRecord

# Rounding alone can move a box over the edge; this many pixels are clipped without a message.
_SILENT_OVERHANG = 0.01
# Of an image's side; numbers from 0 to 1 that are so far apart differ in float32 too.
_SURE_EXTENT = 1e-6


def _annotation_number(annotation_id: str) -> int:
    """The id as an int64; ids that are text get a number from a hash."""
    try:
        number = int(annotation_id)
    except ValueError:
        number = -1
    if 0 <= number < 1 << 63:
        return number
    digest = hashlib.blake2b(annotation_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def drop_rule(
    row: AnnotationRow,
    categories: Mapping[str, tuple[int, str]],
    *,
    height: int,
    width: int,
    unwanted: int,
) -> tuple[str, str] | None:
    """The rule by which a single row is dropped, with the detail; None if it is kept.

    Args:
      row: of an image's annotations.
      categories: category key to (stored id, name).
      height, width: of the image, pixels.
      unwanted: rows that have one of these flags are dropped.
    """
    if row.problem:
        return "annotation_row_invalid", row.problem
    if row.category not in categories:
        return "category_unknown", f"category_id {row.category}"
    if row.flags & unwanted & IS_FAKE:
        return "annotation_fake", "isfake 1"
    if row.flags & unwanted & IS_REFLECTED:
        return "annotation_reflected", "isreflected 1"
    x, y, box_width, box_height = row.bbox
    # What nearly all boxes are: inside the image, and sure to have an extent.
    if (
        0 <= x <= x + box_width <= width
        and 0 <= y <= y + box_height <= height
        and box_width > 2 * _SURE_EXTENT * width
        and box_height > 2 * _SURE_EXTENT * height
    ):
        return None
    # Not finite, if any of them is not.
    if not math.isfinite(x + y + box_width + box_height) and not all(map(math.isfinite, row.bbox)):
        return "box_not_finite", _in_words(row.bbox)
    if box_width <= 0 or box_height <= 0:
        return "box_empty", _in_words(row.bbox)
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        return "box_outside", f"{_in_words(row.bbox)} in an image of {width} x {height}"
    y0, x0, y1, x1 = _clipped(row.bbox, height=height, width=width)
    extents = y1 / height - y0 / height, x1 / width - x0 / width
    if min(extents) > _SURE_EXTENT:
        return None
    stored = np.array([y0 / height, x0 / width, y1 / height, x1 / width], np.float32)
    if (stored[:2] == stored[2:]).any():
        box = _in_words(row.bbox)
        return "box_empty", f"{box}, which has no extent in the float32 numbers of a record"
    return None


def _in_words(bbox: Sequence[float]) -> str:
    values = (f"{v:g}" if math.isfinite(v) else "not a number" for v in bbox)
    return f"bbox [{', '.join(values)}]"


def _clipped(
    bbox: Sequence[float], *, height: int, width: int
) -> tuple[float, float, float, float]:
    """From x, y, width, height to ymin, xmin, ymax, xmax within the image; all in pixels."""
    x, y, box_width, box_height = bbox
    return max(y, 0.0), max(x, 0.0), min(y + box_height, height), min(x + box_width, width)


def _shuffled(objects: list[ObjectRecord], *, seed: int, image_id: str) -> list[ObjectRecord]:
    """A random order that depends on the seed, the image and the objects only.

    By hashes, because a random generator may change its order in a later version.
    """

    def place(thing: ObjectRecord) -> bytes:
        content = f"{seed}/{image_id}/{thing.annotation_id}/{thing.label}/{thing.box_yxyx}"
        return hashlib.blake2b(content.encode(), digest_size=8).digest()

    return sorted(objects, key=place)


def apply_label_rules(
    rows: Sequence[AnnotationRow],
    *,
    image_id: str,
    height: int,
    width: int,
    categories: Mapping[str, tuple[int, str]],
    seed: int,
    drop_fake: bool = False,
    drop_reflected: bool = False,
) -> tuple[list[ObjectRecord], list[Defect]]:
    """Makes the objects of one image's record.

    Args:
      rows: of this image, in any order.
      image_id: orders the objects, together with `seed`.
      height, width: of the image, pixels.
      categories: category key to (stored id, name).
      seed: of the data set.
      drop_fake, drop_reflected: drop Objects365's pictures of objects, mirrored objects.

    Returns:
      The objects in their stored, shuffled order, and a `Defect` for every row that was dropped
      or changed, in the order of the file.
    """
    objects: list[ObjectRecord] = []
    defects: list[Defect] = []
    seen: dict[tuple, str] = {}
    unwanted = IS_FAKE * drop_fake | IS_REFLECTED * drop_reflected

    def note(row: AnnotationRow, rule: str, detail: str) -> None:
        defects.append(Defect(rule, image_id, row.annotation_id, detail, row.bbox))

    for row in sorted(rows):
        dropped = drop_rule(row, categories, height=height, width=width, unwanted=unwanted)
        is_crowd = row.is_crowd
        identity = (row.category, *row.bbox, is_crowd)
        if dropped is None and identity in seen:
            dropped = "annotation_duplicate", f"the same as annotation {seen[identity]}"
        if dropped is not None:
            note(row, *dropped)
            continue
        seen[identity] = row.annotation_id
        x, y, box_width, box_height = row.bbox
        y0, x0, y1, x1 = y, x, y + box_height, x + box_width
        overhang = max(-x, -y, x1 - width, y1 - height)
        if overhang > _SILENT_OVERHANG:
            note(row, "box_clipped", f"bbox {row.bbox} in an image of {width} x {height}")
        if overhang > 0:
            y0, x0, y1, x1 = _clipped(row.bbox, height=height, width=width)
        area = row.area
        if area is None or not math.isfinite(area) or area <= 0:
            area = (x1 - x0) * (y1 - y0)
            note(row, "area_from_box", f"area {row.area}")
        label, name = categories[row.category]
        objects.append(
            ObjectRecord(
                box_yxyx=(y0 / height, x0 / width, y1 / height, x1 / width),
                label=label,
                text=name,
                area=area,
                is_crowd=is_crowd,
                annotation_id=_annotation_number(row.annotation_id),
                is_fake=row.is_fake,
                is_reflected=row.is_reflected,
            )
        )
    return _shuffled(objects, seed=seed, image_id=image_id), defects
