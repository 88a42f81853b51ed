"""The twelve COCO numbers, per-class numbers and precision/recall curves of a set of detections.

pycocotools is the definition of these numbers. hotcoco computes the same ones in Rust and is the
default; both are given the same rows and their results are averaged by the same lines, so that a
difference can only come from the matching itself.
"""

import contextlib
import dataclasses
import gc
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pix2seq_model.errors import DataError

GroundTruth = Mapping[str, Any]
Detections = Sequence[dict[str, Any]]
Engine = Literal["hotcoco", "pycocotools"]
ENGINES: tuple[str, ...] = ("hotcoco", "pycocotools")

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)

# What each number is: AP or AR, at which IoU (None: mean of .50:.05:.95), objects of which size,
# from how many detections an image; and for people. In the order in which COCO prints them.
_DEFINITIONS: dict[str, tuple[str, float | None, str, int, str]] = {
    "AP": ("precision", None, "all", 100, "average precision, mean over IoU .50:.05:.95"),
    "AP50": ("precision", 0.5, "all", 100, "average precision at IoU .50"),
    "AP75": ("precision", 0.75, "all", 100, "average precision at IoU .75"),
    "AP_small": ("precision", None, "small", 100, "AP of objects under 32² pixels"),
    "AP_medium": ("precision", None, "medium", 100, "AP of objects of 32² to 96² pixels"),
    "AP_large": ("precision", None, "large", 100, "AP of objects over 96² pixels"),
    "AR1": ("recall", None, "all", 1, "average recall with 1 detection an image"),
    "AR10": ("recall", None, "all", 10, "average recall with 10 detections an image"),
    "AR100": ("recall", None, "all", 100, "average recall with 100 detections an image"),
    "AR_small": ("recall", None, "small", 100, "AR100 of objects under 32² pixels"),
    "AR_medium": ("recall", None, "medium", 100, "AR100 of objects of 32² to 96² pixels"),
    "AR_large": ("recall", None, "large", 100, "AR100 of objects over 96² pixels"),
}
METRIC_KEYS: tuple[str, ...] = tuple(_DEFINITIONS)
METRIC_MEANINGS = {key: definition[-1] for key, definition in _DEFINITIONS.items()}
_AREAS = ("all", "small", "medium", "large")
_MAX_DETECTIONS = (1, 10, 100)


@dataclasses.dataclass(frozen=True)
class CocoResult:
    """What an evaluation found. A number is -1 where no object could count towards it.

    Attributes:
      metrics: the 12 numbers by `METRIC_KEYS`.
      per_class: for each category, by id: `id`, `name`, `num_objects` (not crowd),
        `num_detections`, and the 12 numbers.
      precision: float (10 IoU thresholds, 101 recalls, categories): the interpolated
        precision/recall curves at 100 detections an image; -1 for a class without objects.
      num_images: how many images were evaluated, those without objects included.
      num_detections: how many detections went in.
      ignored_categories: how many detections of each category that the ground truth does not
        list; COCO's rules leave them out.
    """

    metrics: dict[str, float]
    per_class: list[dict[str, Any]]
    precision: np.ndarray
    num_images: int
    num_detections: int
    ignored_categories: dict[int, int]

    def to_json(self) -> dict[str, Any]:
        """The 12 numbers, `per_class`, `num_images`, `num_detections` for metrics.json."""
        return {
            **self.metrics,
            "per_class": self.per_class,
            "num_images": self.num_images,
            "num_detections": self.num_detections,
        }


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """A million rows make the collector run often, look at all of them and find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_garbage_collection_paused()
def evaluate_detections(
    ground_truth: GroundTruth,
    detections: Detections,
    *,
    image_ids: Iterable[int] | None = None,
    engine: Engine = "hotcoco",
) -> CocoResult:
    """Computes the COCO numbers for bounding boxes.

    Args:
      ground_truth: as `coco_files` gives it after its checks, or `read_split_truth`.
      detections: as `coco_files` gives them after its checks; more than 100 of an image's class
        are cut by score as COCO does.
      image_ids: evaluate these images only; all of the ground truth's where not given.
      engine: 'hotcoco' or 'pycocotools'.

    Raises:
      DataError: an image id that the ground truth does not list, or another engine.
    """
    if engine not in ENGINES:
        raise DataError(f"engine is {engine!r}; choose one of {', '.join(ENGINES)}")
    known = {row["id"] for row in ground_truth["images"]}
    chosen = sorted(known if image_ids is None else {int(i) for i in image_ids})
    if not chosen:
        raise DataError("image_ids is empty: name at least one image, or leave it out for all")
    strangers = [i for i in chosen if i not in known]
    if strangers:
        raise DataError(
            f"image_ids: {len(strangers)} are not images of the ground truth, among them "
            f"{strangers[:5]}"
        )
    categories = sorted(ground_truth["categories"], key=lambda row: row["id"])
    make_evaluator = hotcoco_evaluator if engine == "hotcoco" else _pycocotools_evaluator
    # pycocotools prints its progress, and this file's results must not be mixed with that.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = make_evaluator(ground_truth, detections, chosen)
        evaluator.evaluate()
        evaluator.accumulate()
    precision_TRKAM = np.asarray(evaluator.eval["precision"])
    recall_TKAM = np.asarray(evaluator.eval["recall"])

    chosen_set, category_set = set(chosen), {row["id"] for row in categories}
    objects = Counter(
        row["category_id"]
        for row in ground_truth["annotations"]
        if row["image_id"] in chosen_set and not row["iscrowd"]
    )
    found = Counter(row["category_id"] for row in detections if row["image_id"] in chosen_set)
    per_class = [
        {
            "id": row["id"],
            "name": row["name"],
            "num_objects": objects[row["id"]],
            "num_detections": found[row["id"]],
            **_numbers(precision_TRKAM[:, :, [k]], recall_TKAM[:, [k]]),
        }
        for k, row in enumerate(categories)
    ]
    return CocoResult(
        metrics=_numbers(precision_TRKAM, recall_TKAM),
        per_class=per_class,
        precision=precision_TRKAM[..., 0, -1],
        num_images=len(chosen),
        num_detections=sum(found.values()),
        ignored_categories={c: n for c, n in sorted(found.items()) if c not in category_set},
    )


def beyond_the_limit(ground_truth: GroundTruth) -> str:
    """Says how many objects COCO's limit on detections lets nobody find; empty if it is none."""
    limit = max(_MAX_DETECTIONS)
    objects = Counter(
        (row["image_id"], row["category_id"])
        for row in ground_truth["annotations"]
        if not row["iscrowd"]
    )
    crowded = {place: count for place, count in objects.items() if count > limit}
    if not crowded:
        return ""
    lost = sum(crowded.values()) - limit * len(crowded)
    return (
        f"{len({image_id for image_id, _ in crowded})} images have more than {limit} objects of a "
        f"category. COCO counts the {limit} best detections of an image and category, so "
        f"{lost:,} of {objects.total():,} objects are missed whatever is detected, and AP and AR "
        "stay below 1."
    )


def metrics_table(metrics: Mapping[str, Any], *, per_class: bool = True) -> str:
    """The numbers as text for a terminal; `metrics` is what `CocoResult.to_json` returns."""
    lines = [f"{key:<10} {number(metrics[key])}  {METRIC_MEANINGS[key]}" for key in METRIC_KEYS]
    if per_class and metrics.get("per_class"):
        width = max(len("class"), *(len(row["name"]) for row in metrics["per_class"]))
        shown = ("AP", "AP50", "AP75", "AR100")
        lines += ["", f"{'class':<{width}}  objects" + "".join(f"{key:>8}" for key in shown)]
        for row in metrics["per_class"]:
            values = "".join(f"{number(row[key]):>8}" for key in shown)
            lines.append(f"{row['name']:<{width}}  {row['num_objects']:>7}{values}")
    return "\n".join(lines)


def number(value: float) -> str:
    """A COCO number for people: three digits, a dash for the -1 of 'nothing to count'."""
    return "-" if value < 0 else f"{value:.3f}"


def _numbers(precision_TRKAM: np.ndarray, recall_TKAM: np.ndarray) -> dict[str, float]:
    """Averages as pycocotools' `summarize` does: over all that is not -1, else -1."""
    numbers = {}
    for key, (kind, iou, area, max_detections, _) in _DEFINITIONS.items():
        values = precision_TRKAM if kind == "precision" else recall_TKAM
        if iou is not None:
            values = values[np.isclose(IOU_THRESHOLDS, iou)]
        values = values[..., _AREAS.index(area), _MAX_DETECTIONS.index(max_detections)]
        values = values[values > -1]
        numbers[key] = float(np.mean(values)) if values.size else -1.0
    return numbers


def hotcoco_evaluator(
    ground_truth: GroundTruth, detections: Detections, image_ids: Iterable[int] | None = None
) -> Any:
    """hotcoco's `COCOeval` of boxes; detections of categories that are not listed are left out.

    Args:
      ground_truth, detections, image_ids: see `evaluate_detections`. hotcoco numbers the
        detections from 1 in their order.
    """
    from hotcoco import COCO, COCOeval

    # It warns of unknown categories, which our result names anyway.
    known = {row["id"] for row in ground_truth["categories"]}
    shift = category_shift(ground_truth)
    # It refuses a file for the type of a field that does not matter here, such as a licence's.
    images = [
        {key: row[key] for key in ("id", "height", "width") if key in row}
        for row in ground_truth["images"]
    ]
    categories = [{**row, "id": row["id"] + shift} for row in _names(ground_truth)]
    truth: list[Any] = ground_truth["annotations"]
    rows: list[Any] = [row for row in detections if row["category_id"] in known]
    if shift:
        truth, rows = (
            [{**row, "category_id": row["category_id"] + shift} for row in some]
            for some in (truth, rows)
        )
    coco = COCO({"images": images, "annotations": truth, "categories": categories})
    evaluator = COCOeval(coco, coco.load_res(rows), "bbox")
    all_ids = (row["id"] for row in ground_truth["images"])
    evaluator.params.imgIds = sorted(all_ids if image_ids is None else image_ids)
    evaluator.params.catIds = sorted(row["id"] for row in categories)
    return evaluator


def category_shift(ground_truth: GroundTruth) -> int:
    """What hotcoco's category ids are more than the truth's: it knows none below 0."""
    return max(0, -min(row["id"] for row in ground_truth["categories"]))


def _names(ground_truth: GroundTruth) -> list[dict[str, Any]]:
    return [{key: row[key] for key in ("id", "name")} for row in ground_truth["categories"]]


def _pycocotools_evaluator(
    ground_truth: GroundTruth, detections: Detections, image_ids: Iterable[int]
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for number, row in enumerate(detections, start=1)
    ]
    truth_and_found = COCO(), COCO()
    # Indexed by hand because `loadRes` fails on an empty list.
    for coco, annotations in zip(truth_and_found, (ground_truth["annotations"], rows)):
        coco.dataset = {**ground_truth, "annotations": annotations}
        coco.createIndex()
    evaluator = COCOeval(*truth_and_found, "bbox")
    evaluator.params.imgIds = image_ids
    evaluator.params.catIds = sorted(row["id"] for row in ground_truth["categories"])
    return evaluator
