"""Annotation files in COCO's format, read as a stream: no file is ever whole in memory.

Objects365's train file is several GB, and `json.load` takes over 20 GB for it. A file is an
object with the arrays `images`, `annotations` and `categories`, in any order; each array is read
in a pass of its own. Rows are brought into a small uniform shape here, and only what cannot be a
row at all is marked. Whether rows are right is checked later, by image (`label_rules`).
"""

import difflib
import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import ijson

from pix2seq_model.data.categories import id_text
from pix2seq_model.data.wrong_content import describe_content
from pix2seq_model.errors import DataError

_BUFFER_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REST_OF_STRING = rb'[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)'
_STRING_END = re.compile(_REST_OF_STRING, re.DOTALL)
_STRING_OR_NOT_A_NUMBER = re.compile(rb'"' + _REST_OF_STRING + rb"|-?Infinity|NaN", re.DOTALL)
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
# Most of a COCO file. Matches a whole value only: what follows is another key or the row's end.
_POLYGONS = re.compile(rb'"segmentation"\s*:\s*\[[-+\d\s.,eE\[\]]*\](?=\s*(?:,\s*"|\}))')
_WORD_BYTES = b"\\-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
IS_CROWD, IS_FAKE, IS_REFLECTED = 1, 2, 4
_FLAGS = {"iscrowd": IS_CROWD, "isfake": IS_FAKE, "isreflected": IS_REFLECTED}
_FLAG_WORDS = {"": 0, "0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_MOST_PIXELS = 1 << 31
# Of a row that was written for labels of another format: why they cannot be used.
LABEL_PROBLEM = "label_problem"
# Where `AnnotationRow` has its area.
_AREA = 5


class ImageRow(NamedTuple):
    """A row of `images`.

    Attributes:
      ordinal: Its place in the array, from 0.
      image_id: The id as text; empty if there is none.
      file_name: As in the file; in LVIS, whose rows have none, the `coco_url`.
      height, width: Pixels; 0 where the row has none that can be used.
      problem: Why the row cannot be used; empty if it can.
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
      ordinal: Its place in the array, from 0.
      image_id: As in `ImageRow`.
      annotation_id: The id as text, or `row 17`.
      category: The id as text, as `id_text` gives it.
      bbox: x, y, width, height in pixels; NaN where it is not a number. Empty if it is no box.
      area: Pixels, or None.
      flags: See `is_crowd`, `is_fake`, `is_reflected`.
      problem: Why the row cannot be used; empty if it can.
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
        row = cls(*values)
        if None in row.bbox:  # JSON has no NaN.
            row = row._replace(bbox=[math.nan if value is None else value for value in row.bbox])
        return row._replace(area=row.bbox[2] * row.bbox[3]) if values[_AREA] is True else row


class _JsonStream:
    """A file with bare NaN and Infinity in quotation marks, no byte order mark, and no polygons.

    They are not JSON, but Python's own `json` writes them; quoted they reach the rule for boxes
    that are not finite, instead of ending the job.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._is_first = True
        self._in_string = False

    def read(self, size: int = -1) -> bytes:
        if size == 0:  # ijson asks so whether the file gives bytes.
            return b""
        chunk = self._file.read(_BUFFER_BYTES if size < 0 else size)
        if self._is_first:
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK) or self._file.read(1)
            self._is_first = False
        # A chunk ends after a separator, so that no such word and no escape is cut in two.
        while chunk and chunk[-1:] in _WORD_BYTES and (more := self._file.read(1)):
            chunk += more
        if b"segmentation" in chunk:
            # Not used here; building its numbers would take most of the time.
            chunk = _POLYGONS.sub(b'"segmentation":0', chunk)
        began_in_string = self._in_string
        quotes = (_ESCAPED.sub(b"", chunk) if b"\\" in chunk else chunk).count(b'"')
        self._in_string ^= bool(quotes % 2)
        if b"NaN" in chunk or b"Infinity" in chunk:
            end = match.end() if began_in_string and (match := _STRING_END.match(chunk)) else 0
            chunk = chunk[:end] + _STRING_OR_NOT_A_NUMBER.sub(_in_quotes, chunk[end:])
        return chunk


def _in_quotes(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b'"') else b'"' + match[0] + b'"'


def read_array(file: BinaryIO, array: str, *, path: str) -> Iterator[Any]:
    """Yields the items of one top-level array of an open annotation file.

    Args:
      file: At its start.
      array: `images`, `annotations` or `categories`; empty if the whole file is a list.
      path: For messages.

    Raises:
      DataError: the file is not JSON, or ends too early.
    """
    count = 0
    prefix = f"{array}.item" if array else "item"
    items = ijson.items(_JsonStream(file), prefix, use_float=True, buf_size=_BUFFER_BYTES)
    try:
        for item in items:
            yield item
            count += 1
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split("(right here)")[0].split())
        name = repr(array) if array else "its list"
        where = f"after row {count} of {name}" if count else f"while looking for {name}"
        raise DataError(
            f"{path}: broken JSON {where}: {reason[:300]}; the file may be cut off or damaged: "
            "download or export it again"
        ) from None


def top_level_keys(file: BinaryIO) -> list[str]:
    """Returns the keys of the file's outermost object, for a message; empty if it is none."""
    events = ijson.parse(_JsonStream(file), use_float=True, buf_size=_BUFFER_BYTES)
    return [value for prefix, event, value in events if not prefix and event == "map_key"]


def no_rows_problem(keys: list[str], array: str, *, path: str) -> str:
    """Says why an array gave no rows, and which of the file's keys may be meant instead."""
    if not keys:
        found = "the file is not an object with named lists"
    elif array in keys:
        found = f"it is empty or no list; the file has the keys {keys[:20]}"
    else:
        close = difflib.get_close_matches(array, keys, n=1)
        meant = f"it has {close[0]!r}: rename it to {array!r}; " if close else ""
        found = f"the file has no such list; {meant}the file has the keys {keys[:20]}"
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
        return ImageRow(ordinal, "", "", 0, 0, f"the row is {raw!r:.80}, not an object")
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
        problem = f"id is {raw.get('id')!r:.80}"
    elif not isinstance(file_name, str) or not file_name:
        close = difflib.get_close_matches("file_name", map(str, raw), n=1)
        meant = f"; the row has {close[0]!r}" if "file_name" not in raw and close else ""
        problem = f"file_name is {file_name!r:.80}{meant}"
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
        problem = f"the row is {raw!r:.80}, not an object"
        return AnnotationRow(ordinal, "", f"row {ordinal}", "", [], None, 0, problem)
    image_id = id_text(raw.get("image_id"))
    annotation_id = id_text(raw.get("id")) or f"row {ordinal}"
    category = id_text(raw.get("category_id"))
    bbox: list[float] = []
    flags, area, problem = 0, None, str(raw.get(LABEL_PROBLEM) or "")
    if problem:
        pass
    elif not image_id:
        problem = f"image_id is {raw.get('image_id')!r:.80}"
    elif not category:
        problem = f"category_id is {raw.get('category_id')!r:.80}"
    try:
        bbox = [_number(value) for value in raw["bbox"]]
        if len(bbox) != 4:
            raise TypeError
    except (KeyError, TypeError):
        problem = problem or f"bbox is {raw.get('bbox')!r:.80}, not [x, y, width, height]"
        bbox = []
    try:
        flags = sum(flag for name, flag in _FLAGS.items() if _is_set(raw.get(name)))
    except (TypeError, ValueError, OverflowError):
        problem = problem or f"iscrowd is {raw.get('iscrowd')!r:.80}, not 0 or 1"
    given = raw.get("area")
    if isinstance(given, int | float) and not isinstance(given, bool):
        area = _number(given)
    return AnnotationRow(ordinal, image_id, annotation_id, category, bbox, area, flags, problem)
