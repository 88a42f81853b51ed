"""The one reader of JSON that a crash, a disk or another program may have damaged.

What Python's own reader takes and this one does not: nesting that ends in a RecursionError sooner
or later, NaN and Infinity, half of a character's \\u escapes, files without an end. What it refuses
by errors of five kinds is refused by one.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from pix2seq_model.errors import DataError, UserError
from pix2seq_model.regular_file import irregular_kind

# Files of this project are nested six deep, a model's record three more for each of its stages.
MOST_DEPTH = 100
# Of a note; the manifest of 100,000 shards is a third of it.
MOST_BYTES = 64 << 20
# Of labels that are read at once: Python takes ten times as much for it.
MOST_LABEL_BYTES = 2 << 30
_PAIR, _STRING = re.compile(rb"\\.", re.DOTALL), re.compile(rb'"[^"]*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# A text without any of these holds no value that has to be looked at one by one.
_SUSPECT = re.compile(rb"\\u[dD][89a-fA-F]|NaN|Infinity|[eE]\+?\d{3}|\d{200}")
_NUMBER = re.compile(r"\d++")
_KINDS: dict[type, str] = {dict: "an object", list: "a list"}


class Openable(Protocol):
    """A path: `pathlib`'s, or `epath`'s for gs://."""

    def open(self, mode: str) -> Any: ...

    def __fspath__(self) -> str: ...


def read_json(path: Openable, *, fix: str, most_bytes: int = MOST_BYTES, **rules: Any) -> Any:
    """The content of a JSON file, with or without a byte order mark.

    Args:
      path: of the file, local or gs://.
      fix: what the reader of a message is to do.
      most_bytes: a larger file is refused, and not read.
      **rules: `error`, `kind`, `finite`, `surrogates` of `parse_json`.

    Raises:
      OSError: the file is not there or cannot be read, which is no damage.
      UserError: of the class `error`; names the file, the line or field, and the fix. A folder, a
        pipe or a device is none.
    """
    source, error = os.fspath(path), rules.get("error", DataError)
    if kind := irregular_kind(source):
        raise error(f"{source} {kind}; {fix}")
    with path.open("rb") as file:
        text = _read(file, source, fix, most_bytes, error)
    return parse_json(text, source=source, fix=fix, **rules)


def parse_json(
    text: bytes | str,
    *,
    source: str,
    fix: str,
    error: type[UserError] = DataError,
    kind: type | None = None,
    finite: bool = True,
    surrogates: bool = False,
) -> Any:
    """The value of a JSON text.

    Args:
      text: in UTF-8.
      source: what to call it in a message, such as the path of its file.
      fix: what the reader of a message is to do.
      error: class of the error.
      kind: what it must be: dict, list, or anything if None.
      finite: refuse NaN, Infinity and numbers beyond what a float holds.
      surrogates: take halves of characters, by which Python writes names of files that are not
        UTF-8.

    Raises:
      UserError: of the class `error`: the text is not JSON, is nested over `MOST_DEPTH` deep, has a
        number of thousands of digits, or is not what the other arguments ask for. The message names
        source, line or field, and fix.
    """
    try:
        raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        return _parse(raw, kind=kind, finite=finite, surrogates=surrogates)
    except _UnusableError as problem:
        raise error(
            f"{source} is damaged or not the JSON that it should be ({problem}); {fix}"
        ) from None


class _UnusableError(Exception):
    """Says why."""


def _read(file: BinaryIO, source: str, fix: str, most_bytes: int, error: type[UserError]) -> bytes:
    # It may have no size that could be asked for, and no end either.
    text = file.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise error(f"{source} is larger than {most_bytes >> 20} MB; {fix}")
    return text


def _parse(raw: bytes, *, kind: type | None, finite: bool, surrogates: bool) -> Any:
    if _is_deep(raw):
        raise _UnusableError(f"it is nested more than {MOST_DEPTH} levels deep")
    try:
        text = raw.decode("utf-8-sig", "surrogatepass" if surrogates else "strict")
        value = json.loads(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _UnusableError(f"line {line}: it is no UTF-8: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise _UnusableError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:  # Of a caller that is deep itself.
        raise _UnusableError("it is nested too deep") from None
    except ValueError:
        # The one thing that Python refuses after its syntax is right.
        number = max(_NUMBER.finditer(text), key=lambda found: len(found[0]))
        line = text.count("\n", 0, number.start()) + 1
        raise _UnusableError(f"line {line}: a number has {len(number[0]):,} digits") from None
    if kind is not None and not isinstance(value, kind):
        raise _UnusableError(f"it holds {_said(value)}, not {_KINDS[kind]}")
    if _SUSPECT.search(raw):
        _check_values(value, finite=finite, surrogates=surrogates)
    return value


def _is_deep(raw: bytes) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= MOST_DEPTH:
        return False
    # Without what stands in strings; in time that is linear whatever is in them.
    bare = _PAIR.sub(b"", raw) if b"\\" in raw else raw
    brackets = _STRING.sub(b"", bare.translate(None, _NO_BRACKETS)).replace(b'"', b"")
    return max(itertools.accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MOST_DEPTH


def _said(value: Any) -> str:
    return next(
        (name for kind, name in _KINDS.items() if isinstance(value, kind)), repr(value)[:40]
    )


def _check_values(value: Any, *, finite: bool, surrogates: bool) -> None:
    for field, found in _leaves(value):
        if isinstance(found, float) and finite and not abs(found) < float("inf"):
            raise _UnusableError(f"{field} is {found}, not a finite number")
        if isinstance(found, str) and not surrogates and _is_half(found):
            raise _UnusableError(f"{field} has a character of which half is missing: {found!a}")


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and every value that holds no others, with the name of its field."""
    waiting = [("", value)]
    while waiting:
        field, found = waiting.pop()
        if isinstance(found, dict):
            for key, part in reversed(found.items()):
                if _is_half(key):
                    yield f"a key of {field or 'its object'}", key
                waiting.append((f"{field}.{key}" if field else key, part))
        elif isinstance(found, list):
            waiting += [(f"{field}[{i}]", part) for i, part in reversed([*enumerate(found)])]
        else:
            yield field or "it", found


def _is_half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
