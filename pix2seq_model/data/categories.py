"""The categories of a data set with splits from several annotation files.

Stored ids are the annotation files' own if possible. Ids must be integers from 1 on to
become class tokens, so ids that start at 0 are raised by one, and ids that are text or beyond the
vocabulary (hashes, keys of a database) are numbered; the manifest then keeps the source's id next
to the stored one. Files that number the same names differently (Objects365 v1's train and val) are
joined by name, never by position.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pix2seq_model.errors import DataError, shown

_DIGITS_OF_64_BITS = 19


def id_text(value: Any) -> str:
    """Returns an id of an annotation file as text: 3, 3.0 and "3" are one; empty if it is none."""
    if type(value) is int:
        return str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if value % 1 == 0 else ""
    return value if isinstance(value, str) else ""


@dataclasses.dataclass(frozen=True)
class CategoryTable:
    """Categories of a data set.

    Attributes:
      categories: as in the manifest: `{"id", "name"}` and, where it differs, `"source_id"`.
      by_source: split to category key of its annotation file to (stored id, name).
    """

    categories: tuple[dict[str, Any], ...]
    by_source: Mapping[str, Mapping[str, tuple[int, str]]]


def _names_of_file(rows: Sequence[Any], path: str) -> dict[str, str]:
    if not rows:
        raise DataError(
            f"{path}: no categories; the file needs a list 'categories' of "
            '{"id": 1, "name": "person"}'
        )
    names: dict[str, str] = {}
    for position, row in enumerate(rows):
        key = id_text(row.get("id")) if isinstance(row, Mapping) else ""
        name = row.get("name") if isinstance(row, Mapping) else None
        if not key or not isinstance(name, str):
            raise DataError(
                f"{path}: categories[{position}] is {shown(row)}; it needs an 'id' (number or "
                "text) and a 'name' (text)"
            )
        if names.setdefault(key, name) != name:
            raise DataError(
                f"{path}: category id {key:.80} is both {shown(names[key])} and {shown(name)}; "
                "give each category its own id"
            )
    return names


def _stored_ids(keys: Sequence[str], max_id: int | None) -> dict[str, int]:
    try:
        numbers = {key: int(key) for key in keys}
    except ValueError:
        return {key: number for number, key in enumerate(sorted(keys), start=1)}
    if len(set(numbers.values())) < len(keys):  # Such as "1" and "01".
        return {key: number for number, key in enumerate(sorted(keys), start=1)}
    raised = max(0, 1 - min(numbers.values()))
    if max_id is not None and max(numbers.values()) + raised > max_id:
        return {key: n for n, key in enumerate(sorted(keys, key=numbers.__getitem__), start=1)}
    return {key: number + raised for key, number in numbers.items()}


def _join_by_name(
    reference: Mapping[str, str], other: Mapping[str, str], *, paths: tuple[str, str]
) -> dict[str, str]:
    """Maps the keys of `other` to those of `reference` that have the same name."""
    key_of = {name: key for key, name in reference.items()}
    unknown = sorted(set(other.values()) - set(key_of))
    if unknown or len(key_of) < len(reference):
        clash = next(key for key in other if reference.get(key, other[key]) != other[key])
        raise DataError(
            f"{paths[1]}: category id {clash:.80} is {shown(other[clash])}, but "
            f"{shown(reference[clash])} in {paths[0]}, and the files cannot be joined by name"
            + (f" ({shown(unknown[0])} is in the one only)" if unknown else "")
            + "; give both files the same categories"
        )
    return {key: key_of[name] for key, name in other.items()}


def merge_categories(
    files: Mapping[str, tuple[str, Sequence[Any]]], *, max_id: int | None = None
) -> CategoryTable:
    """Joins the categories of the annotation files of a data set.

    Args:
      files: split to (path, for messages; the file's `categories` rows).
      max_id: the highest id that the vocabulary has a token for. Where one is higher, all are
        numbered from 1 in their order.

    Raises:
      DataError: a file has none, a row is unusable, or the files contradict each other.
    """
    names: dict[str, str] = {}
    reference_path = ""
    canonical: dict[str, dict[str, str]] = {}
    # Train first, so that its ids are the ones that stay; then by name, for a stable result.
    for split in sorted(files, key=lambda name: (name != "train", name)):
        path, rows = files[split]
        own = _names_of_file(rows, path)
        if all(names.get(key, name) == name for key, name in own.items()):
            canonical[split] = {key: key for key in own}
            names.update(own)
        else:
            canonical[split] = _join_by_name(names, own, paths=(reference_path, path))
        reference_path = reference_path or path
    stored = _stored_ids(list(names), max_id)
    return CategoryTable(
        categories=tuple(
            {"id": number, "name": names[key]} | ({"source_id": key} if str(number) != key else {})
            for key, number in sorted(stored.items(), key=lambda item: item[1])
        ),
        by_source={
            split: {key: (stored[own], names[own]) for key, own in keys.items()}
            for split, keys in canonical.items()
        },
    )


def category_numbers(categories: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Category ids for COCO files by the records' labels.

    They are the annotation file's own (`source_id` in the manifest, where it differs) if all of
    those are different whole numbers of 64 bits, else the records'.
    """
    own = {row["id"]: str(row.get("source_id", row["id"])) for row in categories}
    plain = all(is_plain_number(text.removeprefix("-")) for text in own.values())
    if plain and len(set(own.values())) == len(own):
        return {label: int(text) for label, text in own.items()}
    return {label: label for label in own}


def names_by_id(categories: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The names of categories by their ids."""
    return {category["id"]: category["name"] for category in categories}


def is_plain_number(text: str) -> bool:
    """Whether an id is a whole number from 0 on, written plainly, of at most 64 bits."""
    # An integer of the served model has 64 bits, of which one is the sign.
    is_short_number = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_OF_64_BITS
    return is_short_number and int(text) < 1 << 63 and str(int(text)) == text
