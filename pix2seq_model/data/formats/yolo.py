"""YOLO: a text file for each image, a line `class x y width height` for each object.

Numbers are fractions of the image's sides, x and y those of the box's middle. More numbers are the
corners of a polygon, of which the box is taken, as ultralytics does.
"""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pix2seq_model.data.formats.labelled_image import LabelledBox, bounds, number
from pix2seq_model.errors import shown

# Rounding and sloppy labels reach a little over the edge; pixels reach far.
_FAR_OUTSIDE = 2.0
_BOX, _DETECTION, _TRIANGLE = 5, 6, 7
_NAMES = re.compile(r"^[ \t]*[\"']?names[\"']?[ \t]*:", re.MULTILINE)
_NAMES_AT_TOP = re.compile(r"^[\"']?names[\"']?[ \t]*:", re.MULTILINE)
# Of what people write: an entry for each class, and `names` is one deep.
_MOST_CHARACTERS, _MOST_DEPTH = 1 << 20, 20


def parse_yolo(text: str, names: Mapping[int, str], *, num_keypoints: int = 0) -> list[LabelledBox]:
    """Reads the lines of one file.

    Args:
      text: of the file.
      names: of the classes by their number.
      num_keypoints: numbers behind each box that belong to its key points.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    return [
        _box(line.split(), names, num_keypoints, f"line {position}")
        for position, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _box(
    parts: Sequence[str], names: Mapping[int, str], num_keypoints: int, where: str
) -> LabelledBox:
    try:
        index, *values = map(number, parts)
    except ValueError as error:
        return LabelledBox("", problem=f"{where}: {error}")
    label = names.get(int(index), "") if index == int(index) else ""
    if not label:
        return LabelledBox("", problem=f"{where}: no class {parts[0]:.40}; there are {len(names)}")
    if num_keypoints and len(parts) == _BOX + num_keypoints:
        values = values[:4]
    if len(parts) == _DETECTION:
        what = "six numbers are a detection with its confidence, no label"
        return LabelledBox(label, problem=f"{where}: {what}")
    if any(abs(value) > _FAR_OUTSIDE for value in values):
        what = "the numbers are no fractions of the image's sides; pixels?"
        return LabelledBox(label, problem=f"{where}: {what}")
    if len(values) == 4:
        x, y, width, height = values
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return LabelledBox(label, corners)
    if len(parts) >= _TRIANGLE and len(values) % 2 == 0:
        return LabelledBox(label, bounds(zip(values[::2], values[1::2], strict=True)))
    return LabelledBox(label, problem=f"{where}: {len(parts)} numbers are no box and no polygon")


def parse_data_yaml(text: str) -> dict[str, Any] | None:
    """Returns the content of a `data.yaml`, `names` by number; None if the text is none.

    `names` that are the path of a file stay that path.

    Raises:
      ValueError: it is one, but it is no YAML, or its names cannot be used.
    """
    try:
        if len(text) > _MOST_CHARACTERS:
            raise _RefusedError(f"it has {len(text):,} characters, as no list of classes has")
        content = yaml.load(text, _PlainLoader)
        as_written = yaml.load(text, _LoaderAsWritten)
    # PyYAML's own errors, and what it lets through where a tag does not fit its value: `!!int ""`.
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, ValueError) as error:
        # In one that cannot be parsed `names` may be where they should not; elsewhere those of a
        # class list are at the top, and indented ones are some other program's.
        is_broken = isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError)
        if not (_NAMES if is_broken else _NAMES_AT_TOP).search(text):
            return None
        reason = " ".join(str(error).split())[:300]
        hint = "" if isinstance(error, _RefusedError) else "; tabs must be spaces"
        raise ValueError(f"no YAML that can be read: {reason}{hint}") from None
    if not isinstance(content, dict) or "names" not in content:
        return None
    names = content["names"]
    if isinstance(names, str) and names.strip():
        return content
    if names and not isinstance(names, dict | list):
        raise ValueError(f"names are {shown(names)}: write a list, or numbers with names")
    # Classes may be called `no`, `on` or `1.0`: they are no truth values and no numbers.
    names = as_written["names"]
    try:
        rows = names.items() if isinstance(names, dict) else enumerate(names or [])
        named = {int(index): name.strip() for index, name in rows}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"names are {shown(names)}: write a list, or numbers with names") from None
    if not named or not all(named.values()):
        raise ValueError("names are empty: name each class")
    _check_unique(named)
    return {**content, "names": named}


class _RefusedError(yaml.YAMLError):
    """It may be YAML, and nobody writes such for people."""


class _Plain(yaml.composer.Composer):
    """Neither what refers to itself nor what is nested: a few lines may stand for gigabytes.

    Aliases of single values are read, as long as what they stand for is no longer than a file.
    """

    depth = 0
    aliased_characters = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._check_alias(self.anchors.get(self.peek_event().anchor))
        if self.depth == _MOST_DEPTH:
            raise _RefusedError(f"it is nested more than {_MOST_DEPTH} deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def _check_alias(self, node: yaml.Node | None) -> None:
        if isinstance(node, yaml.CollectionNode):
            what = "it has an alias (*name) of a list or mapping: write out what that stands for"
            raise _RefusedError(what)
        self.aliased_characters += len(node.value) if node else 0
        if self.aliased_characters > _MOST_CHARACTERS:
            what = f"its aliases (*name) stand for more than {_MOST_CHARACTERS:,} characters"
            raise _RefusedError(f"{what}: write them out")


class _PlainLoader(_Plain, yaml.SafeLoader):
    pass


class _LoaderAsWritten(_Plain, yaml.BaseLoader):
    pass


def parse_name_list(text: str) -> dict[int, str]:
    """Returns the names by number of a list with a line for each class.

    A line without a name counts: it is the class of its number.

    Raises:
      ValueError: two classes have one name.
    """
    lines = map(str.strip, text.removeprefix("\ufeff").splitlines())
    named = {index: name for index, name in enumerate(lines) if name}
    _check_unique(named)
    return named


def _check_unique(named: Mapping[int, str]) -> None:
    if len(set(named.values())) < len(named):
        counts = collections.Counter(named.values())
        double = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"names has {shown(double)} twice: give each class its own name")
