"""Rows of annotation files in COCO's format.

A file is an object with the arrays `images`, `annotations` and `categories`, in any order. Rows
are brought into a small uniform shape here, and only what cannot be a row at all is marked. Whether
rows are right is checked later, by image (`label_rules`).
"""

import difflib
import math
from typing import Any, NamedTuple

from pix2seq_model.data.categories import id_text
from pix2seq_model.data.wrong_content import describe_content
from pix2seq_model.errors import DataError, shown

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
IS_CROWD, IS_FAKE, IS_REFLECTED = 1, 2, 4
_FLAGS = {"iscrowd": IS_CROWD, "isfake": IS_FAKE, "isreflected": IS_REFLECTED}
_FLAG_WORDS = {"": 0, "0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_MOST_PIXELS = 1 << 31
# Of a row that was written for labels of another format: why they cannot be used.
LABEL_PROBLEM = "label_problem"
# Where `AnnotationRow` has its area.
_AREA = 5
_FOUR_FLOATS = [float] * 4


class ImageRow(NamedTuple):
    """A row of `images`.

    Attributes:
      ordinal: its place in the array, from 0.
      image_id: the id as text; empty if there is none.
      file_name: as in the file; in LVIS, whose rows have none, the `coco_url`.
      height, width: pixels; 0 where the row has none that can be used.
      problem: why the row cannot be used; empty if it can.
    """

    ordinal: int
    image_id: str
    file_name: str
    height: int
    width: int
    problem: str = ""


class AnnotationRow(NamedTuple):
    """A row of `annotations`.

    Attributes:
      ordinal: its place in the array, from 0.
      image_id: as in `ImageRow`.
      annotation_id: the id as text, or `row 17`.
      category: the id as text, as `id_text` gives it.
      bbox: x, y, width, height in pixels; NaN where it is not a number. Empty if it is no box.
      area: pixels, or None.
      flags: see `is_crowd`, `is_fake`, `is_reflected`.
      problem: why the row cannot be used; empty if it can.
    """

    ordinal: int
    image_id: str
    annotation_id: str
    category: str
    bbox: list[float]
    area: float | None
    flags: int
    problem: str = ""

    @property
    def is_crowd(self) -> bool:
        return bool(self.flags & IS_CROWD)

    @property
    def is_fake(self) -> bool:
        return bool(self.flags & IS_FAKE)

    @property
    def is_reflected(self) -> bool:
        return bool(self.flags & IS_REFLECTED)

    def packed(self) -> list[Any]:
        """The values as a list, True for an area that is the box's own, as most are."""
        values: list[Any] = [*self]
        if len(self.bbox) == 4:
            area = self.bbox[2] * self.bbox[3]
            # Numbers that are not finite would not come back from JSON.
            if self.area == area and math.isfinite(area):
                values[_AREA] = True
        return values

    @classmethod
    def unpacked(cls, values: list[Any]) -> "AnnotationRow":
        """The row of which `packed` gave the values."""
        ordinal, image_id, annotation_id, category, bbox, area, flags, problem = values
        if None in bbox:  # JSON has no NaN.
            bbox = [math.nan if value is None else value for value in bbox]
        if area is True:
            area = bbox[2] * bbox[3]
        return cls(ordinal, image_id, annotation_id, category, bbox, area, flags, problem)


def no_rows_problem(keys: list[str], array: str, *, path: str) -> str:
    """Says why an array gave no rows, and which of the file's keys may be meant instead."""
    first = [key[:80] for key in keys[:20]]
    if not keys:
        found = "the file is not an object with named lists"
    elif array in keys:
        found = f"it is empty or no list; the file has the keys {first}"
    else:
        close = difflib.get_close_matches(array, keys, n=1)
        meant = f"it has {close[0]!r}: rename it to {array!r}; " if close else ""
        found = f"the file has no such list; {meant}the file has the keys {first}"
    return (
        f"{path}: no rows under {array!r}; {found}, and COCO's format needs the lists 'images', "
        "'annotations' and 'categories'"
    )


def check_start(start: bytes, *, path: str) -> None:
    """Raises DataError unless a file with these first bytes may be an annotation file."""
    start = start.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if not start.startswith(b"{"):
        raise DataError(
            f"{path} {describe_content(start)}; COCO's format is one JSON object with the lists "
            "'images', 'annotations' and 'categories'"
        )


def _pixels(value: Any) -> int:
    """A width or height; 0 if it is none, and then the file says it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    # Beyond that it is no image; and infinity has no int.
    return int(value) if 1 <= value <= _MOST_PIXELS and value == int(value) else 0


def parse_image_row(raw: Any, ordinal: int) -> ImageRow:
    """Reads a row of `images`; what is wrong with it is said in its `problem`."""
    if not isinstance(raw, dict):
        return ImageRow(ordinal, "", "", 0, 0, f"the row is {shown(raw)}, not an object")
    image_id = id_text(raw.get("id"))
    file_name = raw.get("file_name")
    if file_name in (None, ""):  # As in LVIS.
        file_name = raw.get("coco_url", file_name)
    height, width = _pixels(raw.get("height")), _pixels(raw.get("width"))
    if not (height and width):
        height = width = 0
    problem = raw.get(LABEL_PROBLEM) or ""
    if problem:
        problem = str(problem)
    elif not image_id:
        problem = f"id is {shown(raw.get('id'))}"
    elif not isinstance(file_name, str) or not file_name:
        close = difflib.get_close_matches("file_name", map(str, raw), n=1)
        meant = f"; the row has {close[0]!r}" if "file_name" not in raw and close else ""
        problem = f"file_name is {shown(file_name)}{meant}"
    name = file_name if isinstance(file_name, str) else ""
    return ImageRow(ordinal, image_id, name, height, width, problem)


def _is_set(flag: Any) -> bool:
    """Raises TypeError or ValueError if it is neither 0 nor 1 in any of the ways of writing it."""
    if isinstance(flag, str):
        flag = _FLAG_WORDS.get(flag.strip().lower(), math.nan)
    return bool(int(flag or 0))


def _number(value: Any) -> float:
    """A number of a box; NaN stands for what is none. Raises TypeError for other things."""
    if value is None:
        return math.nan
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and value not in ("NaN", "Infinity", "-Infinity"):
        raise TypeError
    try:
        return float(value)
    except OverflowError:  # An integer of hundreds of digits.
        return math.inf


def parse_annotation_row(raw: Any, ordinal: int) -> AnnotationRow:
    """Reads a row of `annotations`; what is wrong with it is said in its `problem`."""
    if not isinstance(raw, dict):
        problem = f"the row is {shown(raw)}, not an object"
        return AnnotationRow(ordinal, "", f"row {ordinal}", "", [], None, 0, problem)
    image_id = id_text(raw.get("image_id"))
    annotation_id = id_text(raw.get("id")) or f"row {ordinal}"
    category = id_text(raw.get("category_id"))
    bbox: list[float] = []
    flags, area, problem = 0, None, str(raw.get(LABEL_PROBLEM) or "")
    if problem:
        pass
    elif not image_id:
        problem = f"image_id is {shown(raw.get('image_id'))}"
    elif not category:
        problem = f"category_id is {shown(raw.get('category_id'))}"
    try:
        bbox = raw["bbox"]
        # Four plain numbers are nearly all there is, and there are millions of them.
        if not (type(bbox) is list and [*map(type, bbox)] == _FOUR_FLOATS):
            bbox = [_number(value) for value in bbox]
        if len(bbox) != 4:
            raise TypeError
    except (KeyError, TypeError):
        problem = problem or f"bbox is {shown(raw.get('bbox'))}, not [x, y, width, height]"
        bbox = []
    try:
        for name, flag in _FLAGS.items():
            value = raw.get(name)
            if value and _is_set(value):
                flags |= flag
    except (TypeError, ValueError, OverflowError):
        flags = 0
        problem = problem or f"iscrowd is {shown(raw.get('iscrowd'))}, not 0 or 1"
    given = raw.get("area")
    if type(given) is float:
        area = given
    elif isinstance(given, int) and not isinstance(given, bool):
        area = _number(given)
    return AnnotationRow(ordinal, image_id, annotation_id, category, bbox, area, flags, problem)
