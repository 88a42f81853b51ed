"""Open Images: a CSV file with a row for each box, and one that names the classes."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pix2seq_model.data.formats.labelled_image import LabelledBox, number

_CORNERS = ("XMin", "YMin", "XMax", "YMax")
_COLUMNS = ("ImageID", "LabelName", *_CORNERS)


def is_boxes(header: str) -> bool:
    """Whether a CSV file with this first line has boxes."""
    return set(_COLUMNS) <= set(header.removeprefix("\ufeff").strip().split(","))


def parse_boxes(
    lines: Iterable[str], names: Mapping[str, str]
) -> Iterator[tuple[str, LabelledBox]]:
    """Yields (image id, box in fractions of the sides) of each row.

    Groups (`IsGroupOf`) are crowds. Rows of labels that a person refuted (`Confidence` 0) are left
    out.

    Args:
      lines: of the CSV file, its header first.
      names: of the classes by their codes (`/m/01yrx`); a code without a name is its own name.

    Raises:
      ValueError: it is no CSV.
    """
    for position, row in enumerate(_rows(csv.DictReader(lines)), start=2):
        if row.get("Confidence") in ("0", "0.0"):
            continue
        code = (row.get("LabelName") or "").strip()
        label, problem = names.get(code, code), ""
        corners: tuple[float, ...] = ()
        try:
            corners = tuple(number(row.get(column)) for column in _CORNERS)
        except ValueError as error:
            problem = f"line {position}: {error}"
        if not label:
            problem = f"line {position}: no LabelName"
        yield (
            row.get("ImageID") or "",
            LabelledBox(label, corners, row.get("IsGroupOf") == "1", problem),
        )


def parse_class_names(lines: Iterable[str]) -> dict[str, str]:
    """Returns the names by code of `class-descriptions-boxable.csv`.

    Raises:
      ValueError: it is no CSV.
    """
    rows = (row for row in _rows(csv.reader(lines)) if len(row) == 2)
    return {code.strip(): name.strip() for code, name in rows if code != "LabelName"}


def _rows(table: Any) -> Iterator[Any]:
    """The rows of a reader of the module csv, whose own errors are no ValueErrors."""
    try:
        yield from table
    except csv.Error as error:
        # What follows a quotation mark that nothing closes is one field, up to the limit.
        what = f"near line {table.line_num + 1}: {error}; is a quotation mark not closed?"
        raise ValueError(what) from None
