"""Arrays of a large JSON file as a stream of their items; no file is ever whole in memory.

A scan in NumPy follows brackets and quotation marks and finds where items end; pieces of whole
items then go to a parser. What is not in the array is only scanned. The work is linear in the size
of the file, whatever stands in it, and depth and length of an item are bounded.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson

from pix2seq_model.errors import DataError

MOST_ITEM_BYTES = 32 << 20
MOST_DEPTH = 100
# Small enough that a chunk and what is made of it stay in the processor's cache and, in a process
# that gives freed memory back at once, need no new pages: half the time of chunks of a megabyte.
_CHUNK_BYTES = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\n\r"
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_QUOTE, _OPENING, _CLOSING = b'"{}'
# `[` and `{`, `]` and `}` differ by this bit alone.
_BRACKET_BIT = 0x20
# Of whole numbers beyond 64 bits orjson makes floats.
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * 19
_LONG_NUMBER = re.compile(rb"(?<![.\d])\d{19}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _BrokenError(Exception):
    """The text is no JSON; `args`: the reason, and how many items of its piece are before it."""


class _Structure:
    """The brackets of a text that comes in chunks, without those in strings."""

    def __init__(self) -> None:
        self.depth = 0
        self.in_string = False
        self._is_escaped = False

    def add(self, chunk: bytes) -> tuple[npt.NDArray[np.bool_], npt.NDArray, npt.NDArray]:
        """Returns of each bracket in the chunk: whether it opens, its position, the depth after."""
        if self._is_escaped:
            chunk = b"_" + chunk[1:]
        self._is_escaped = False
        if b"\\" in chunk:
            chunk = _ESCAPED.sub(b"__", chunk)
            self._is_escaped = chunk.endswith(b"\\")
        text = np.frombuffer(chunk, np.uint8)
        folded = text | _BRACKET_BIT
        at = np.flatnonzero((folded == _OPENING) | (folded == _CLOSING) | (text == _QUOTE))
        kinds = folded[at]
        is_quote = kinds == _QUOTE
        strings_before = np.cumsum(is_quote) + self.in_string
        is_bracket = ~is_quote & (strings_before % 2 == 0)
        if at.size:
            self.in_string = bool(strings_before[-1] % 2)
        opens = kinds[is_bracket] == _OPENING
        depths = self.depth + np.cumsum(np.where(opens, 1, -1))
        if depths.size:
            self.depth = int(depths[-1])
            if depths.min() < 0:
                raise _BrokenError("a bracket is closed that was not opened", 0)
            if depths.max() > MOST_DEPTH:
                raise _BrokenError(f"it is nested more than {MOST_DEPTH} levels deep", 0)
        return opens, at[is_bracket], depths


class _Pieces:
    """One array of a file as pieces, each of them whole items.

    Attributes:
      frame: the file's text without the content of its lists and objects, as far as it was read.
      was_found: whether the array has begun.
    """

    def __init__(self, file: BinaryIO, array: str | None):
        """
        Args:
          file: at its start.
          array: a top-level key; empty if the whole file is a list; None for no array.
        """
        self._file = file
        self.name = array
        self._name = None if array is None else json.dumps(array).encode()
        self.frame = bytearray()
        self.was_found = False
        # Of the item, or the run of items, that has begun.
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yields the pieces; raises _BrokenError."""
        structure = _Structure()
        in_array = False
        chunk = self._beginning()
        # Depth of an item's surroundings: a list in an object, or the file's own list.
        level = 1 if chunk.startswith(b"[") else 2
        while chunk:
            depth_before = structure.depth
            opens, at, depths = structure.add(chunk)
            borders = np.flatnonzero(depths == np.where(opens, level, level - 1))
            start = 0
            is_inside = depth_before >= level
            for border in borders.tolist():
                position = int(at[border])
                if opens[border]:
                    self._add_to_frame(chunk[start : position + 1])
                    in_array = self._is_wanted(level)
                    start = position + 1
                else:
                    if in_array:
                        yield self._cut(chunk[start:position])
                    start, in_array = position, False
                is_inside = bool(opens[border])
            if not is_inside:
                self._add_to_frame(chunk[start:])
            elif in_array:
                ends = at[~opens & (depths == level) & (at >= start)]
                if ends.size:
                    end = int(ends[-1]) + 1
                    yield self._cut(chunk[start:end])
                    start = end
                self._keep(chunk[start:])
            chunk = self._file.read(_CHUNK_BYTES)
        if structure.in_string or structure.depth:
            raise _BrokenError("the file ends within it", 0)

    def _beginning(self) -> bytes:
        """What the file begins with, a byte order mark and blanks left out."""
        chunk = self._file.read(_CHUNK_BYTES)
        while chunk and len(chunk) < len(_BYTE_ORDER_MARK) and (more := self._file.read(1)):
            chunk += more
        chunk = chunk.removeprefix(_BYTE_ORDER_MARK).lstrip(_SPACE)
        while not chunk and (more := self._file.read(_CHUNK_BYTES)):
            chunk = more.lstrip(_SPACE)
        return chunk

    def _is_wanted(self, level: int) -> bool:
        if self._name is None or not self.frame.endswith(b"["):
            return False
        if level == 1:
            return self._name == b'""'
        end = self._before_space(len(self.frame) - 1)
        if not self.frame.endswith(b":", 0, end):
            return False
        end = self._before_space(end - 1)
        is_key = self.frame.endswith(self._name, 0, end)
        is_key = is_key and not self.frame.endswith(b"\\" + self._name, 0, end)
        self.was_found |= is_key
        return is_key

    def _before_space(self, end: int) -> int:
        """Where the text before a position ends, if blanks do not count."""
        while end and self.frame[end - 1] in _SPACE:
            end -= 1
        return end

    def _add_to_frame(self, text: bytes) -> None:
        self.frame += text
        if len(self.frame) > MOST_ITEM_BYTES:
            raise _BrokenError(f"there are over {MOST_ITEM_BYTES >> 20} MB outside of its lists", 0)

    def _keep(self, text: bytes) -> None:
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes > MOST_ITEM_BYTES:
            raise _BrokenError(
                f"the next one has over {MOST_ITEM_BYTES >> 20} MB, or a bracket or quotation mark "
                "is missing in it",
                0,
            )

    def _cut(self, text: bytes) -> bytes:
        self._keep(text)
        piece = b"".join(self._pending)
        self._pending, self._pending_bytes = [], 0
        return piece


def _parse(text: bytes) -> list[Any]:
    """The items of a piece; NaN and Infinity, which Python's `json` writes, are numbers."""
    if _MANY_DIGITS not in text.translate(_DIGITS_AS_ZEROS) or not _LONG_NUMBER.search(text):
        try:
            return orjson.loads(b"[%b]" % text)
        except orjson.JSONDecodeError:
            pass
    decoded = ""
    try:
        decoded = text.decode()
        items = json.loads(f"[{decoded}]")
        if _SURROGATE.search(text):
            json.dumps(items, ensure_ascii=False).encode()
        return items
    except UnicodeEncodeError:
        raise _BrokenError("a character is given by half of its \\u escapes", 0) from None
    except UnicodeDecodeError as error:
        raise _BrokenError(f"it is no UTF-8: {error.reason}", 0) from None
    except json.JSONDecodeError as error:
        raise _BrokenError(error.msg, _whole_items(decoded)) from None
    except ValueError:
        raise _BrokenError("a number has thousands of digits", _whole_items(decoded)) from None


def _whole_items(text: str) -> int:
    """How many items are before the one at which parsing fails."""
    decoder = json.JSONDecoder()
    space = re.compile(r"[ \t\n\r]*+,?[ \t\n\r]*+")
    count = position = 0
    try:
        while (match := space.match(text, position)) and match.end() < len(text):
            _, position = decoder.raw_decode(text, match.end())
            count += 1
    except ValueError:
        pass
    return count


def _items(pieces: _Pieces) -> Iterator[list[Any]]:
    """The items of each piece; raises _BrokenError."""
    is_first = True
    for piece in pieces:
        text = piece.strip(_SPACE)
        if not is_first:
            if text and not text.startswith(b","):
                raise _BrokenError("a comma is missing", 0)
            if text == b",":
                raise _BrokenError("nothing follows a comma", 0)
            text = text[1:]
        if text:
            is_first = False
            yield _parse(text)
    _check_frame(pieces)


def _check_frame(pieces: _Pieces) -> list[str]:
    """The top-level keys of the file, which was read; raises _BrokenError."""
    try:
        # Objects as tuples, which lists are not.
        frame = json.loads(bytes(pieces.frame).decode(), object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise _BrokenError(getattr(error, "msg", str(error)), 0) from None
    is_object = pieces.frame.lstrip(_SPACE).startswith(b"{")
    if not is_object:
        return []
    name = pieces.name
    lists = [isinstance(value, list) for key, value in frame if name and key == name]
    if any(lists[:-1]):  # Of which the last would count.
        raise _BrokenError(f"the key {name!r} is there {len(lists)} times", 0)
    if any(lists) and not pieces.was_found:
        raise _BrokenError(f"the key {name!r} is written with escapes", 0)
    return [key for key, _ in frame]


def read_array(file: BinaryIO, array: str, *, path: str) -> Iterator[Any]:
    """Yields the items of one top-level array of an open JSON file.

    Args:
      file: at its start.
      array: a key of the outermost object; empty if the whole file is a list.
      path: for messages.

    Raises:
      DataError: the file is not JSON, ends too early, or has what no annotation file needs: an item
        of over `MOST_ITEM_BYTES`, or one nested over `MOST_DEPTH` deep. Of what is in other lists
        and objects only brackets and quotation marks are looked at.
    """
    count = 0
    try:
        for items in _items(_Pieces(file, array)):
            yield from items
            count += len(items)
    except _BrokenError as error:
        reason, more = error.args
        count += more
        name = repr(array) if array else "its list"
        where = f"after row {count} of {name}" if count else f"while looking for {name}"
        raise DataError(
            f"{path}: broken JSON {where}: {reason}; the file may be cut off or damaged: "
            "download or export it again"
        ) from None


def top_level_keys(file: BinaryIO, *, path: str) -> list[str]:
    """Returns the keys of the file's outermost object; empty if it is none.

    Raises:
      DataError: the file is not JSON.
    """
    pieces = _Pieces(file, None)
    try:
        for _ in pieces:
            pass
        return _check_frame(pieces)
    except _BrokenError as error:
        raise DataError(f"{path}: broken JSON: {error.args[0]}; export it again") from None
