"""Detections of images that were numbered elsewhere: matched to a truth by their file names.

A model that is run on a folder numbers what it finds there; the annotation file has numbers of its
own. Where both are whole numbers, results of one image would count for another without a word.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pix2seq_model.data.annotation_file import AnnotationFile
from pix2seq_model.data.categories import id_text
from pix2seq_model.errors import DataError, shown

MATCHES = ("auto", "name", "id")
_SHOWN = 3
_LAST_NUMBER = re.compile(r"(\d+)\D*$", re.ASCII)


@dataclasses.dataclass(frozen=True)
class MatchedResults:
    """COCO results with the annotation file's image ids.

    Attributes:
      rows: of the results; those of images that the file does not list are left out.
      notes: for people: how images were matched, and what was left out.
    """

    rows: Any
    notes: tuple[str, ...] = ()


def match_images(
    results: Any, file: AnnotationFile, *, images: Any = None, match: str = "auto", source: str
) -> MatchedResults:
    """Finds the image of the annotation file that each detection is of.

    By id where the file names agree or none are known; by file name where they do not.

    Args:
      results: COCO results as read; rows may have `file_name`, the path of their image.
      file: the annotation file.
      images: what lists the images that were looked at: {"images": [{"id", "file_name"}]} or None.
      match: of MATCHES: "id" trusts the ids, "name" needs file names.
      source: what to call the results in messages.

    Raises:
      DataError: no image fits, or a file name fits several.
    """
    if not isinstance(results, list) or match == "id":
        return MatchedResults(results)  # What is no list is refused where results are checked.
    names = _names(results, images, source=source)
    truth = {
        id_text(key): row["file_name"]
        for key, row in zip(file.image_numbers, file.coco["images"])
        if isinstance(row.get("file_name"), str) and row["file_name"]
    }
    if not names or not truth:
        if match == "name":
            raise DataError(
                f"{source if not names else file.path} says no file names: give --match=id if the "
                "ids are the same in both files"
            )
        return MatchedResults(results)
    if match == "auto" and all(
        key in truth and _same_path(name, truth[key]) for key, name in names.items()
    ):
        return MatchedResults(results, _not_looked_at(names, images, truth))
    by_name = _by_name(names, truth, source=source, path=file.path)
    if not by_name:
        if match == "auto" and all(
            key in truth and _number(name) == _number(truth[key]) == int(key)
            for key, name in names.items()
            if key.isdecimal() or key not in truth
        ):
            note = "images matched by their ids, which are the numbers in both files' names"
            return MatchedResults(results, (note, *_not_looked_at(names, images, truth)))
        raise DataError(
            f"no image fits: {source} is of {_some(names.values())}, {file.path} lists "
            f"{_some(truth.values())}. Give the annotation file of these images, or --match=id if "
            "the ids are the same in both files and only the names differ"
        )
    rows = []
    for row in results:
        key = id_text(row.get("image_id")) if isinstance(row, Mapping) else ""
        if key in by_name:
            rows.append({**row, "image_id": by_name[key]})
        elif key not in names:  # No name is known: refused or taken by its id.
            rows.append(row)
    notes = [f"{len(by_name):,} images matched by their file names, as their ids differ"]
    if strangers := len(names) - len(by_name):
        left_out = _some(name for key, name in names.items() if key not in by_name)
        notes.append(f"{strangers:,} images that the truth does not list left out: {left_out}")
    looked_at = dict.fromkeys(by_name.values(), "")
    return MatchedResults(rows, (*notes, *_not_looked_at(looked_at, images, truth)))


def _names(results: Sequence[Any], images: Any, *, source: str) -> dict[str, str]:
    """File names by image id as text, of the images' list and of the rows."""
    names: dict[str, str] = {}
    listed = images.get("images") if isinstance(images, Mapping) else None
    for row in listed if isinstance(listed, list) else ():
        if isinstance(row, Mapping) and isinstance(row.get("file_name"), str):
            names[id_text(row.get("id"))] = row["file_name"]
    for index, row in enumerate(results):
        if not isinstance(row, Mapping) or row.get("file_name") is None:
            continue
        name, key = row["file_name"], id_text(row.get("image_id"))
        if not isinstance(name, str):
            raise DataError(f"{source}: row[{index}].file_name is {shown(name)}, not a text")
        if names.setdefault(key, name) != name:
            raise DataError(
                f"{source}: image {key} is both {names[key]!r} and {name!r}; give each image an "
                "id of its own"
            )
    return names


def _by_name(
    names: Mapping[str, str], truth: Mapping[str, str], *, source: str, path: str
) -> dict[str, str]:
    """The truth's id by the results' id, of the images that are in both."""
    candidates = defaultdict(list)
    for key, name in truth.items():
        candidates[_parts(name)[-1]].append(key)
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for key, name in names.items():
        # train/1.jpg is not val/1.jpg.
        alike = [k for k in candidates.get(_parts(name)[-1], ()) if _same_path(name, truth[k])]
        if len(alike) > 1:
            exact = [other for other in alike if _parts(truth[other]) == _parts(name)]
            alike = exact or alike
        if len(alike) > 1:
            raise DataError(
                f"{source}: image {name!r} may be any of {_some(truth[k] for k in alike)} in "
                f"{path}: run the model on the folder that these paths start from"
            )
        if not alike:
            continue
        (other,) = alike
        if other in taken:
            raise DataError(
                f"{source}: images {taken[other]!r} and {name!r} are both called as "
                f"{truth[other]!r} in {path}: run the model on the images of that file alone"
            )
        taken[other], found[key] = name, other
    return found


def _not_looked_at(
    looked_at: Mapping[str, str], images: Any, truth: Mapping[str, str]
) -> tuple[str, ...]:
    # Without a list, images in which nothing was found are not known.
    missing = truth.keys() - looked_at.keys() if images is not None else ()
    if not missing:
        return ()
    some = _some(truth[key] for key in sorted(missing))
    return (
        f"{len(missing):,} of the truth's {len(truth):,} images were not looked at, and all their "
        f"objects count as missed: {some}",
    )


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


def _same_path(one: str, other: str) -> bool:
    """Whether one of two paths is the end of the other: a.jpg and val/a.jpg."""
    return all(a == b for a, b in zip(reversed(_parts(one)), reversed(_parts(other))))


def _number(name: str) -> int | None:
    found = _LAST_NUMBER.search(PurePosixPath(_parts(name)[-1]).stem)
    return int(found[1][-100:]) if found else None


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = ", ..." if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
