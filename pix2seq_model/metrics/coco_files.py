"""COCO ground truth and COCO results files: read, check, and say what is wrong with them.

Boxes are COCO's: [x, y, width, height] in pixels of the original image.
"""

import functools
import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model import json_file
from pix2seq_model.errors import DataError, shown
from pix2seq_model.regular_file import irregular_kind

METRICS_FILE = "metrics.json"
_GZIP = b"\x1f\x8b"
_SHOWN = 5  # how many culprits a message names


def read_ground_truth(path: epath.PathLike) -> dict[str, Any]:
    """Reads the ground truth of an evaluation folder; see `checked_ground_truth`.

    Raises:
      DataError: the file is missing, is not JSON or is not such a file.
    """
    return checked_ground_truth(read_json(path), source=str(path))


def read_detections(
    path: epath.PathLike,
    *,
    image_ids: Iterable[int] | None = None,
    allow_negative: bool = False,
    numbered: Callable[[Any], Any] = lambda rows: rows,
) -> list[dict[str, Any]]:
    """Reads a COCO results file, plain or packed: a list of {image_id, category_id, bbox, score}.

    Args:
      path: the file.
      image_ids: where given, the ids that may occur.
      allow_negative: see `checked_detections`.
      numbered: gives the rows whole numbers for ids, before they are checked.

    Raises:
      DataError: the file is missing, is not JSON or is not such a file.
    """
    return checked_detections(
        numbered(read_json(path, surrogates=True)),
        source=str(path),
        image_ids=image_ids,
        allow_negative=allow_negative,
    )


def read_metrics(evaluation_dir: epath.PathLike) -> dict[str, Any]:
    """Reads metrics.json of an evaluation folder.

    Raises:
      DataError: the folder is not complete.
    """
    path = epath.Path(evaluation_dir) / METRICS_FILE
    try:
        return json_file.read_json(path, fix="evaluate again", kind=dict)
    except OSError as error:
        raise DataError(f"{path}: no finished evaluation ({error}); evaluate again") from None


def checked_ground_truth(truth: Any, *, source: str = "ground truth") -> dict[str, Any]:
    """Returns a ground truth with every field that the evaluators need, else refuses it.

    Absent `area` becomes the box's area and absent `iscrowd` becomes 0; null is absent too.
    Annotations are numbered again from 1 in the file's order, because pycocotools takes an
    annotation with id 0 for one that nothing matched, and one of two that share an id for the
    other.

    Args:
      truth: a dictionary with the lists `images`, `annotations` and `categories`. Not changed.
      source: what to call it in messages.

    Raises:
      DataError: a list is missing or empty where it must not be, a name is not a text, an id is
        not a whole number of 64 bits (of an image: or negative) or is listed twice, an annotation
        is of an unknown image or category, `iscrowd` is neither 0 nor 1, or a box is not four
        finite numbers of which the last two are not negative.
    """
    if not isinstance(truth, Mapping):
        raise DataError(
            f"{source}: a COCO annotation file is an object with the lists images, annotations "
            f"and categories; this one is a {type(truth).__name__}"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(truth.get(key), list):
            raise DataError(f"{source}: no list {key!r}; is this a COCO annotation file?")
    for key in ("images", "categories"):
        if not truth[key]:
            raise DataError(f"{source}: the list {key!r} is empty: there is nothing to evaluate")
    for kind, key in (("images", "file_name"), ("categories", "name")):
        _check_texts(truth[kind], kind, key, source)
    image_ids = _unique_ids(truth["images"], "images", source)
    category_ids = _unique_ids(truth["categories"], "categories", source)

    rows = truth["annotations"]
    placed = _placed_boxes(rows, "annotation", source)
    _check_known(placed, image_ids, "image_id", "annotation", source)
    _check_known(placed, category_ids, "category_id", "annotation", source)
    areas = [
        new["bbox"][2] * new["bbox"][3] if row.get("area") is None else row["area"]
        for row, new in zip(rows, placed)
    ]
    areas = _numbers(areas, "area", "annotation", source)
    crowds = [row.get("iscrowd") or 0 for row in rows]
    # The text "0" would be true for Python.
    _refuse_unless(
        lambda crowd: crowd in (0, 1), crowds, f"{source}: annotation", "iscrowd", "0 or 1"
    )
    annotations = [
        {"id": number, **new, "area": area, "iscrowd": int(crowd)}
        for number, (new, area, crowd) in enumerate(zip(placed, areas, crowds), start=1)
    ]
    return {
        **{key: value for key, value in truth.items() if key in ("info", "licenses")},
        "images": [{**row, "id": int(row["id"])} for row in truth["images"]],
        "categories": [{"name": str(row["id"]), **row} for row in truth["categories"]],
        "annotations": annotations,
    }


def checked_detections(
    detections: Any,
    *,
    source: str = "detections",
    image_ids: Iterable[int] | None = None,
    allow_negative: bool = False,
) -> list[dict[str, Any]]:
    """Returns detections as plain rows {image_id, category_id, bbox, score}, else refuses them.

    Args:
      detections: COCO results; an empty list is fine. Not changed.
      source: what to call it in messages.
      image_ids: where given, the ids that may occur.
      allow_negative: accept boxes of negative width or height. They match nothing, and where the
        area is negative COCO's rules do not count them as false alarms either.

    Raises:
      DataError: not a list, a field is missing, a score or box is not finite, a box has a
        negative size, or an image id is not one of `image_ids`.
    """
    if not isinstance(detections, Sequence) or isinstance(detections, str | bytes):
        raise DataError(
            f"{source}: COCO results are a list of objects with image_id, category_id, bbox and "
            f"score; this is a {type(detections).__name__}"
        )
    least = -math.inf if allow_negative else 0.0
    placed = _placed_boxes(detections, "row", source, "score", least=least)
    scores = _numbers([row["score"] for row in detections], "score", "row", source)
    if image_ids is not None:
        _check_known(placed, set(image_ids), "image_id", "row", source)
    return [{**new, "score": score} for new, score in zip(placed, scores)]


def clipped_detections(
    detections: Sequence[Mapping[str, Any]], images: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Checked detections with their boxes clipped to the images and negative sizes made 0.

    Args:
      detections: checked COCO results. Not changed.
      images: of the ground truth, with their sizes.
    """
    if not detections:
        return []
    sizes = {row["id"]: (row["width"], row["height"]) for row in images}
    limits_N2 = np.array([sizes[row["image_id"]] for row in detections], np.float64)
    boxes_N4 = np.array([row["bbox"] for row in detections], np.float64)
    near_N2 = np.clip(boxes_N4[:, :2], 0, limits_N2)
    far_N2 = np.clip(boxes_N4[:, :2] + boxes_N4[:, 2:], 0, limits_N2)
    boxes_N4 = np.concatenate([near_N2, np.maximum(far_N2 - near_N2, 0)], axis=1)
    return [{**row, "bbox": box} for row, box in zip(detections, boxes_N4.tolist())]


def read_json(path: epath.PathLike, *, surrogates: bool = False) -> Any:
    """The content of a JSON file, plain or packed by gzip, with or without a byte order mark.

    NaN is taken: the checks of what is in the file name its row.

    Args:
      path: the file.
      surrogates: take names of files that are not UTF-8, as `predict` writes them.

    Raises:
      DataError: the file is missing or is not JSON.
    """
    path = epath.Path(path)
    most = json_file.MOST_LABEL_BYTES
    try:
        if kind := irregular_kind(path):
            raise DataError(f"{path}: {kind}; name the JSON file")
        with path.open("rb") as file:
            content = file.read(most + 1)
        if content.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(most + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except PermissionError:
        raise DataError(f"{path}: this user may not read it") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); export it again") from None
    if len(content) > most:
        raise DataError(f"{path} is larger than {most >> 20} MB; export fewer images at a time")
    return json_file.parse_json(
        content,
        source=str(path),
        fix="export it again",
        finite=False,
        surrogates=surrogates,
    )


def _placed_boxes(
    rows: Sequence, name: str, source: str, *more_keys: str, least: float = 0.0
) -> list[dict[str, Any]]:
    """Checked image, category and box of each row; `more_keys` must be in it too."""
    _check_fields(rows, ("image_id", "category_id", "bbox", *more_keys), name, source)
    boxes = _boxes(rows, name, source, least=least)
    images, categories = (_whole(rows, key, name, source) for key in ("image_id", "category_id"))
    return [
        {"image_id": image_id, "category_id": category_id, "bbox": box}
        for image_id, category_id, box in zip(images, categories, boxes)
    ]


def _check_texts(rows: list, kind: str, key: str, source: str) -> None:
    """A name that is there is a text; an image may have none or null."""
    nothing = kind == "images"
    for index, row in enumerate(rows):
        value = row.get(key, "") if isinstance(row, Mapping) else ""
        if not isinstance(value, str) and not (nothing and value is None):
            raise DataError(f"{source}: {kind}[{index}].{key} is {shown(value)}, not a text")


def _unique_ids(rows: list, name: str, source: str) -> set[int]:
    _check_fields(rows, ("id",), name, source)
    ids = _whole(rows, "id", name, source)
    if len(set(ids)) != len(ids):
        twice = min(number for number, count in Counter(ids).items() if count > 1)
        raise DataError(f"{source}: {name} lists the id {twice} more than once")
    return set(ids)


def _check_fields(rows: Sequence, keys: tuple[str, ...], name: str, source: str) -> None:
    needed = frozenset(keys)
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{source}: {name}[{index}] is {shown(row)}, not an object")
        if not needed <= row.keys():
            missing = next(key for key in keys if key not in row)
            raise DataError(
                f"{source}: {name}[{index}] has no field {missing!r}; it has {shown(sorted(row))}"
            )


def _check_known(
    rows: Sequence[Mapping], known: set[int], key: str, name: str, source: str
) -> None:
    unknown = sorted({row[key] for row in rows} - known)
    if unknown:
        what = "images" if key == "image_id" else "categories"
        raise DataError(
            f"{source}: {name}s of {len(unknown)} different {key} that the ground truth's {what} "
            f"do not list, among them {unknown[:_SHOWN]}: do both files belong to one split?"
        )


# A file may hold a million rows. Values are looked at one by one only where the types of all of
# them together say that one is wrong.


def _whole(rows: Sequence[Mapping], key: str, name: str, source: str) -> list[int]:
    """The whole numbers under a key, of 64 bits; those of images are not negative."""
    values = [row[key] for row in rows]
    # hotcoco takes images with a negative number for broken; a category may have one.
    of_image = key == "image_id" or (key == "id" and name == "images")
    least = 0 if of_image else -(2**63)
    if not (
        set(map(type, values)) <= {int}
        and min(values, default=0) >= least
        and max(values, default=0) < 2**63
    ):
        what = f"a whole number from {'0' if of_image else '-2**63'} to 2**63 - 1"
        is_right = functools.partial(_is_whole, least=least)
        _refuse_unless(is_right, values, f"{source}: {name}", key, what)
    return [int(value) for value in values]


def _numbers(values: list, key: str, name: str, source: str) -> list[float]:
    """The values as finite floats."""
    if not (set(map(type, values)) <= {int, float} and np.isfinite(np.array(values, float)).all()):
        _refuse_unless(_is_number, values, f"{source}: {name}", key, "a finite number")
    return [float(value) for value in values]


def _refuse_unless(
    is_right: Callable[[Any], bool], values: list, place: str, key: str, what: str
) -> None:
    for index, value in enumerate(values):
        if not is_right(value):
            raise DataError(f"{place}[{index}].{key} is {shown(value)}, not {what}")


def _is_whole(value: Any, *, least: int) -> bool:
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_number and least <= value < 2**63


def _boxes(rows: Sequence[Mapping], name: str, source: str, *, least: float) -> list[list[float]]:
    """All boxes as lists of four floats, xywh in pixels; `least` is the smallest size allowed."""
    values = [row["bbox"] for row in rows]
    try:
        boxes = np.asarray(values, np.float64).reshape(len(values), 4)
    except (TypeError, ValueError):
        boxes = np.full((1, 4), np.nan)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < least).any():
        what = "[x, y, width, height], four finite numbers"
        if least == 0:
            what += ", width and height not negative"
        is_box = functools.partial(_is_box, least=least)
        _refuse_unless(is_box, values, f"{source}: {name}", "bbox", f"a box in pixels: {what}")
    return boxes.tolist()


def _is_box(value: Any, *, least: float) -> bool:
    numbers = list(value) if isinstance(value, Sequence | np.ndarray) else []
    return len(numbers) == 4 and all(map(_is_number, numbers)) and min(numbers[2:]) >= least


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
