"""An annotation file as COCO ground truth: read by the conversion's rules, whoever reads it.

Rows that cannot be used are set aside and counted as in a conversion, and too many of them are
refused. Boxes without area and duplicates stay, because COCO's numbers count them.
"""

import bz2
import contextlib
import dataclasses
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from etils import epath

from pix2seq_model.data.annotations import (
    LABEL_PROBLEM,
    AnnotationRow,
    check_start,
    no_rows_problem,
    parse_annotation_row,
    parse_image_row,
)
from pix2seq_model.data.categories import (
    category_numbers,
    id_text,
    is_plain_number,
    merge_categories,
    names_by_id,
)
from pix2seq_model.data.defects import DefectLimits, RowCounts, counts_table, exceeded_limits
from pix2seq_model.data.json_arrays import read_array, top_level_keys
from pix2seq_model.errors import DataError
from pix2seq_model.regular_file import irregular_kind

_PACKED: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}
_START_BYTES = 64
_LARGEST_ID = 2**63 - 1
_LIMITS = DefectLimits()
_EXAMPLES_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """The content of an annotation file.

    Attributes:
      path: of the file.
      coco: images, annotations and categories in COCO's format, all ids whole numbers: the file's
        own if those are such, else counted from 1. Annotations are numbered from 1, because
        pycocotools takes one with id 0 for one that nothing matched. Boxes xywh in pixels.
      image_numbers: id in `coco` by the file's id as text.
      category_numbers: id in `coco` by the file's id as text.
      counts: rows of images and annotations read, set aside and changed, as in `SplitInfo.counts`.
    """

    path: str
    coco: dict[str, Any]
    image_numbers: dict[str, int]
    category_numbers: dict[str, int]
    counts: Mapping[str, Mapping[str, Any]]

    @property
    def category_names(self) -> dict[str, str]:
        """Names by the file's id as text."""
        names = names_by_id(self.coco["categories"])
        return {key: names[number] for key, number in self.category_numbers.items()}

    def defects(self) -> str:
        """A table of what was set aside or changed; empty if nothing was."""
        found = any(kind["dropped"] or kind["changed"] for kind in self.counts.values())
        return counts_table({"": self.counts}) if found else ""

    def numbered(self, results: Any) -> Any:
        """COCO results with the ids of `coco` in place of the file's.

        Categories that the file does not list get numbers behind its own, in `category_numbers`.

        Raises:
          DataError: an image id is not among the file's.
        """
        if not isinstance(results, list):
            return results  # Refused where results are checked.
        return [self._numbered(row) if isinstance(row, dict) else row for row in results]

    def _numbered(self, row: dict[str, Any]) -> dict[str, Any]:
        image, category = id_text(row.get("image_id")), id_text(row.get("category_id"))
        if image and image not in self.image_numbers:
            raise DataError(
                f"{self.path} does not list image {image!r}, of which there are detections: do "
                "both files belong to one split?"
            )
        if category and category not in self.category_numbers:
            taken = set(self.category_numbers.values())
            free = max(taken) + 1
            if free > _LARGEST_ID:
                free = next(number for number in range(len(taken) + 1) if number not in taken)
            is_free = is_plain_number(category) and int(category) not in taken
            self.category_numbers[category] = int(category) if is_free else free
        known = {"image_id": self.image_numbers.get(image)}
        known["category_id"] = self.category_numbers.get(category)
        # What is no id at all is refused where results are checked.
        return {**row, **{key: number for key, number in known.items() if number is not None}}


def read_annotation_file(path: epath.PathLike, *, limits: DefectLimits = _LIMITS) -> AnnotationFile:
    """Reads an annotation file in COCO's format, plain or packed by gzip or bzip2.

    Args:
      path: the file.
      limits: how many rows may be set aside.

    Raises:
      DataError: the file is missing, is no such file, or more of it is defective than the limits
        allow.
    """
    path = str(path)
    check_file(path)
    counts = {kind: RowCounts() for kind in ("images", "annotations")}
    examples: list[str] = []

    def note(kind: str, rule: str, detail: str, *, dropped: bool = True) -> None:
        of_kind = counts[kind].dropped if dropped else counts[kind].changed
        of_kind[rule] += 1
        if dropped and of_kind[rule] <= _EXAMPLES_SHOWN:
            examples.append(f"  {rule}: {detail}")

    # A class may have its number for a name: COCO's numbers need none.
    rows = [
        {"name": id_text(row.get("id")), **row} if isinstance(row, dict) else row
        for row in read_rows(path, "categories")
    ]
    table = merge_categories({"": (path, rows)}, max_id=_LARGEST_ID)
    numbers = category_numbers(table.categories)
    categories = {key: numbers[stored] for key, (stored, _) in table.by_source[""].items()}
    raw_categories = {categories[id_text(row["id"])]: row for row in reversed(rows)}

    images, lost = _read_images(path, note)
    counts["images"].rows_in = len(images) + counts["images"].dropped.total()
    plain = all(map(is_plain_number, images))
    image_numbers = {text: int(text) if plain else n for n, text in enumerate(images, start=1)}
    annotations: list[dict[str, Any]] = []
    for ordinal, raw in enumerate(read_rows(path, "annotations")):
        counts["annotations"].rows_in += 1
        row = parse_annotation_row(raw, ordinal)
        if problem := _problem(row, image_numbers, categories, lost):
            note("annotations", problem[0], f"annotation {row.annotation_id}: {problem[1]}")
            continue
        area = row.area
        if area is None or not math.isfinite(area) or area <= 0:
            area = row.bbox[2] * row.bbox[3]
            note("annotations", "area_from_box", "", dropped=False)
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_numbers[row.image_id],
                "category_id": categories[row.category],
                "bbox": [float(value) for value in row.bbox],
                "area": float(area),
                "iscrowd": int(row.is_crowd),
            }
        )
    counts["images"].written, counts["annotations"].written = len(images), len(annotations)
    counted = {kind: of_kind.to_json() for kind, of_kind in counts.items()}
    if excesses := list(exceeded_limits(counted, limits)):
        raise DataError(
            "\n".join([f"{path}: {'; '.join(excesses)}", counts_table({"": counted}), *examples])
        )
    return AnnotationFile(
        path,
        coco={
            "images": [{**row, "id": image_numbers[text]} for text, row in images.items()],
            "annotations": annotations,
            "categories": [
                {**raw_categories[number], "id": number} for number in sorted(raw_categories)
            ],
        },
        image_numbers=image_numbers,
        category_numbers=categories,
        counts=counted,
    )


def _read_images(
    path: str, note: Callable[[str, str, str], None]
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """The rows of images by their id as text, and the ids that were set aside.

    An image listed again is one image; an id of two files is nobody's.
    """
    images: dict[str, dict[str, Any]] = {}
    lost: set[str] = set()
    for ordinal, raw in enumerate(read_rows(path, "images")):
        row = parse_image_row(raw, ordinal)
        if not row.image_id or LABEL_PROBLEM in raw:
            note("images", "image_row_invalid", f"images[{ordinal}]: {row.problem}")
        elif (first := images.get(row.image_id)) is None:
            sizes = {"height": row.height, "width": row.width} if row.height else {}
            kept = {key: raw[key] for key in raw if key not in ("height", "width")}
            images[row.image_id] = {**kept, "file_name": row.file_name, **sizes}
        else:
            note("images", "image_duplicate_id", f"image {row.image_id}: {row.file_name}")
            if first["file_name"] != row.file_name:
                lost.add(row.image_id)
    for image_id in sorted(lost):
        first = images.pop(image_id)
        note("images", "image_duplicate_id", f"image {image_id}: {first['file_name']}")
    return images, lost


def _problem(
    row: AnnotationRow,
    images: Mapping[str, int],
    categories: Mapping[str, int],
    lost: set[str],
) -> tuple[str, str] | None:
    """The rule by which a row is set aside, with the detail."""
    if row.problem:
        return "annotation_row_invalid", row.problem
    if row.image_id in lost:
        return "annotation_of_dropped_image", f"image_id {row.image_id}"
    if row.image_id not in images:
        return "annotation_without_image", f"image_id {row.image_id}"
    if row.category not in categories:
        return "category_unknown", f"category_id {row.category}"
    if not all(math.isfinite(value) for value in row.bbox):
        return "box_not_finite", f"bbox {row.bbox}"
    if row.bbox[2] < 0 or row.bbox[3] < 0:
        return "box_empty", f"bbox {row.bbox}"
    return None


def check_file(path: str) -> None:
    """Raises DataError unless there is a file that may be an annotation file by its beginning."""
    with _damage_named(path), _opened(path) as file:
        check_start(file.read(_START_BYTES), path=path)


def read_rows(path: str, array: str) -> Iterator[Any]:
    """The rows of a file's array, as a stream; none only of `annotations`, if it has that list.

    Args:
      path: of the file, plain or packed by gzip or bzip2.
      array: `images`, `annotations` or `categories`.

    Raises:
      DataError: the file cannot be read, or has no such rows.
    """
    count = 0
    with _damage_named(path), _opened(path) as file:
        for row in read_array(file, array, path=path):
            count += 1
            yield row
    if not count:
        with _opened(path) as file:
            keys = top_level_keys(file, path=path)
        if array != "annotations" or array not in keys:
            raise DataError(no_rows_problem(keys, array, path=path))


@contextlib.contextmanager
def _damage_named(path: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read to its end: {error}; get it again") from None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Opens a file, unpacked; says in words why it cannot be read."""
    try:
        if kind := irregular_kind(path):
            raise DataError(f"{path}: {kind}; name the JSON file")
        # In a bucket this gives the file to `with` alone.
        with epath.Path(path).open("rb") as file:
            unpack = _PACKED.get(file.read(2))
            file.seek(0)
            yield io.BufferedReader(unpack(file)) if unpack else file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except PermissionError:
        raise DataError(f"{path}: this user may not read it") from None
