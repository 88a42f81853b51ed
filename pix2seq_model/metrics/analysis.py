"""What is behind an AP: right and wrong detections, kinds of errors, confusions, calibration.

Matching, error costs, confusion matrix and calibration are hotcoco's, at IoU 0.5. The kinds of
errors are those of Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors",
ECCV 2020, arXiv:2008.08115. Boxes are [x, y, width, height] in pixels.
"""

import dataclasses
import itertools
from collections import defaultdict
from typing import Any

import numpy as np

from pix2seq_model.metrics.coco_metrics import (
    Detections,
    GroundTruth,
    category_shift,
    hotcoco_evaluator,
)

IOU_THRESHOLD = 0.5
_BACKGROUND_IOU = 0.1
_NUM_BINS = 10
MEANINGS = {
    "class": "right place, wrong class",
    "localisation": "right class, box too far off",
    "both": "wrong class and box too far off",
    "duplicate": "an object found a second time",
    "background": "nothing there",
    "missed": "an object that nothing found",
}
KINDS: tuple[str, ...] = tuple(MEANINGS)
_TIDE_NAMES = dict(zip(KINDS, ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")))  # hotcoco's


@dataclasses.dataclass(frozen=True)
class Errors:
    """What was wrong, and what it costs.

    Attributes:
      counts: number of errors by kind.
      costs: rise of AP50 by kind, if an oracle fixes that kind and nothing else; they do not add
        up to 1 - AP50.
      false_positive_cost: rise of AP50 if no detection is wrong.
      false_negative_cost: rise of AP50 if no object is missed.
    """

    counts: dict[str, int]
    costs: dict[str, float]
    false_positive_cost: float
    false_negative_cost: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Scores against the share of right detections, in bins of equal width.

    Attributes:
      count: (bins,) detections in each bin; those on crowds are left out.
      mean_score: (bins,), 0 where a bin is empty.
      share_right: (bins,), 0 where a bin is empty.
      error: expected calibration error, the mean over detections of |mean score - share right|
        of their bin (Guo et al., "On Calibration of Modern Neural Networks", 2017); 0 without
        detections.
    """

    count: np.ndarray
    mean_score: np.ndarray
    share_right: np.ndarray
    error: float


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """The score threshold at which precision and recall are best together (greatest F1).

    Attributes:
      threshold: keep detections of at least this score; 0 where there is none to keep.
      precision: share of the kept detections that are right.
      recall: share of the objects found by them.
      f1: harmonic mean of the two.
      num_true, num_false, num_missed: right and wrong detections, objects not found.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    num_true: int
    num_false: int
    num_missed: int


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts of objects by true class and by the class they were detected as.

    Attributes:
      category_ids: of rows and columns but the last, which stand for 'nothing'.
      counts: (classes + 1, classes + 1); rows are the truth, columns the detections. The last
        column counts objects that were not found, the last row detections of nothing.
      threshold: detections of at least this score were looked at.
    """

    category_ids: tuple[int, ...]
    counts: np.ndarray
    threshold: float

    def largest(self, number: int) -> list[tuple[int, int, int]]:
        """The most frequent (true id, detected id, count) of different classes."""
        between = self.counts[:-1, :-1].copy()
        np.fill_diagonal(between, 0)
        order = np.argsort(-between, axis=None, kind="stable")[:number]
        return [
            (self.category_ids[r], self.category_ids[c], int(between[r, c]))
            for r, c in zip(*np.unravel_index(order, between.shape))
            if between[r, c]
        ]


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Detections (D) and objects (G) of a data set, and their results.

    A detection that is neither right nor wrong is on a crowd, or is not among the 100 with the
    highest scores of its image and class.

    Attributes:
      image_ids: of all images, sorted; those without boxes too.
      objects: (G) rows of the ground truth, crowds too.
      detections: (D) rows of categories that the ground truth lists.
      gt_image, dt_image: (G,), (D,) image ids.
      dt_score: (D,).
      gt_crowd: (G,) bool.
      dt_right, dt_wrong: (D,) bool.
      dt_alarm: (D,) bool, wrong because of nothing: the kinds "background" and "both".
      gt_missed: (G,) bool, nothing found it, and no error of class or localisation is on it.
      errors, calibration, point: see there.
    """

    image_ids: tuple[int, ...]
    objects: list[dict[str, Any]]
    detections: Detections
    gt_image: np.ndarray
    dt_image: np.ndarray
    dt_score: np.ndarray
    gt_crowd: np.ndarray
    dt_right: np.ndarray
    dt_wrong: np.ndarray
    dt_alarm: np.ndarray
    gt_missed: np.ndarray
    errors: Errors
    calibration: Calibration
    point: OperatingPoint


def analyse(ground_truth: GroundTruth, detections: Detections) -> Analysis:
    """Matches detections with objects as COCO does and says what went wrong.

    Args:
      ground_truth: checked by `coco_files.checked_ground_truth`.
      detections: checked by `coco_files.checked_detections`.
    """
    objects = ground_truth["annotations"]
    known = {row["id"] for row in ground_truth["categories"]}
    rows = [row for row in detections if row["category_id"] in known]
    found = _evaluated(ground_truth, rows).image_diagnostics(iou_thr=IOU_THRESHOLD)
    # hotcoco numbers detections from 1 in their order.
    status = [found["dt_status"].get(number) for number in range(1, len(rows) + 1)]
    dt_right = np.array([word == "tp" for word in status], bool)
    dt_wrong = np.array([word == "fp" for word in status], bool)
    gt_unfound = np.array([found["gt_status"].get(row["id"]) == "fn" for row in objects], bool)
    gt_crowd = np.array([row["iscrowd"] for row in objects], bool)
    dt_score = np.array([row["score"] for row in rows], np.float64)
    dt_alarm, gt_touched = _alarms(objects, gt_crowd, rows, dt_wrong)
    counted = dt_right | dt_wrong
    plain = _evaluated(*_without_crowds(ground_truth, rows, counted))
    return Analysis(
        image_ids=tuple(sorted(row["id"] for row in ground_truth["images"])),
        objects=objects,
        detections=rows,
        gt_image=np.array([row["image_id"] for row in objects], np.int64),
        dt_image=np.array([row["image_id"] for row in rows], np.int64),
        dt_score=dt_score,
        gt_crowd=gt_crowd,
        dt_right=dt_right,
        dt_wrong=dt_wrong,
        dt_alarm=dt_alarm,
        gt_missed=gt_unfound & ~gt_touched,
        errors=_errors(plain),
        calibration=_calibration(plain),
        point=best_operating_point(
            dt_score[counted], dt_right[counted], num_objects=int(np.count_nonzero(~gt_crowd))
        ),
    )


def confusion_matrix(
    ground_truth: GroundTruth, analysis: Analysis, *, threshold: float
) -> Confusion:
    """Pairs detections and objects of an image whatever their classes, the highest score first.

    Args:
      ground_truth: see `analyse`.
      analysis: of it; crowds and detections on them are left out.
      threshold: least score.
    """
    counted = analysis.dt_right | analysis.dt_wrong
    evaluator = hotcoco_evaluator(*_without_crowds(ground_truth, analysis.detections, counted))
    found = evaluator.confusion_matrix(
        iou_thr=IOU_THRESHOLD, max_det=max(1, len(counted)), min_score=threshold
    )
    shift = category_shift(ground_truth)
    category_ids = tuple(number - shift for number in found["cat_ids"])
    return Confusion(category_ids, found["matrix"].astype(np.int64), threshold)


def best_operating_point(
    score: np.ndarray, right: np.ndarray, *, num_objects: int
) -> OperatingPoint:
    """Looks at every score as a threshold; of equally good ones takes the highest.

    Args:
      score: (D,) of the detections that are right or wrong.
      right: (D,) bool.
      num_objects: how many there were to find.
    """
    if not len(score) or not num_objects:
        return OperatingPoint(0.0, 0.0, 0.0, 0.0, 0, len(score), num_objects)
    order = np.argsort(-score, kind="stable")
    score, right = score[order], right[order]
    hits, kept = np.cumsum(right), np.arange(1, len(score) + 1)
    f1 = 2 * hits / (kept + num_objects)
    # A threshold keeps all of the equal scores or none.
    f1[:-1][score[:-1] == score[1:]] = -1.0
    best = int(np.argmax(f1))
    return OperatingPoint(
        threshold=float(score[best]),
        precision=float(hits[best] / kept[best]),
        recall=float(hits[best] / num_objects),
        f1=float(f1[best]),
        num_true=int(hits[best]),
        num_false=int(kept[best] - hits[best]),
        num_missed=int(num_objects - hits[best]),
    )


def _evaluated(ground_truth: GroundTruth, rows: Detections) -> Any:
    evaluator = hotcoco_evaluator(ground_truth, rows)
    evaluator.params.iouThrs = [IOU_THRESHOLD]
    evaluator.evaluate()
    return evaluator


def _without_crowds(
    ground_truth: GroundTruth, rows: Detections, counted: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Truth without crowds, and the detections that are right or wrong.

    hotcoco's errors and confusions would take a detection near a crowd for one of its objects.
    """
    annotations = [row for row in ground_truth["annotations"] if not row["iscrowd"]]
    return {**ground_truth, "annotations": annotations}, list(itertools.compress(rows, counted))


def _errors(evaluator: Any) -> Errors:
    tide = evaluator.tide_errors(pos_thr=IOU_THRESHOLD, bg_thr=_BACKGROUND_IOU)
    counts, costs = (
        {kind: tide[what][name] for kind, name in _TIDE_NAMES.items()}
        for what in ("counts", "delta_ap")
    )
    return Errors(counts, costs, tide["delta_ap"]["FP"], tide["delta_ap"]["FN"])


def _calibration(evaluator: Any) -> Calibration:
    found = evaluator.calibration(n_bins=_NUM_BINS, iou_threshold=IOU_THRESHOLD)
    count, mean_score, share_right = (
        np.array([part[name] for part in found["bins"]])
        for name in ("count", "avg_confidence", "avg_accuracy")
    )
    return Calibration(count, mean_score, share_right, error=found["ece"])


def _alarms(
    objects: Detections, gt_crowd: np.ndarray, rows: Detections, dt_wrong: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which wrong detections are of nothing, and on which objects a nearly right one lies.

    hotcoco counts the kinds of errors, but does not say of which kind a detection is.

    Returns:
      (D,) and (G,) bool.
    """
    from hotcoco import mask

    gt_of: dict[int, list[int]] = defaultdict(list)
    dt_of: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(~gt_crowd).tolist():
        gt_of[objects[index]["image_id"]].append(index)
    for index in np.flatnonzero(dt_wrong).tolist():
        dt_of[rows[index]["image_id"]].append(index)
    alarm, touched = dt_wrong.copy(), np.zeros(len(objects), bool)
    for image_id, dt in dt_of.items():
        gt = gt_of[image_id]
        if not gt:
            continue
        overlap_DG = mask.iou(
            [rows[i]["bbox"] for i in dt], [objects[i]["bbox"] for i in gt], [False] * len(gt)
        )
        same_DG = np.equal.outer(
            [rows[i]["category_id"] for i in dt], [objects[i]["category_id"] for i in gt]
        )
        own_DG, other_DG = np.where(same_DG, overlap_DG, -1), np.where(same_DG, -1, overlap_DG)
        own_D, other_D = own_DG.max(axis=1), other_DG.max(axis=1)
        is_localisation = (own_D >= _BACKGROUND_IOU) & (own_D < IOU_THRESHOLD)
        is_class = ~is_localisation & (other_D >= IOU_THRESHOLD)
        is_duplicate = own_D >= IOU_THRESHOLD
        alarm[dt] = ~(is_localisation | is_class | is_duplicate)
        gt_index = np.array(gt)
        touched[gt_index[own_DG.argmax(axis=1)[is_localisation]]] = True
        touched[gt_index[other_DG.argmax(axis=1)[is_class]]] = True
    return alarm, touched
