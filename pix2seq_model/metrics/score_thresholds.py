"""The score from which detections are worth keeping: that of the greatest F1, overall and by class.

F1 is 2 * right / (kept + objects), at IoU 0.5; crowds, and detections on them, do not count.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pix2seq_model.metrics.analysis import Analysis, best_operating_point

# At most so many points of a curve: finer than a screen shows.
_MAX_POINTS = 200


@dataclasses.dataclass(frozen=True)
class ThresholdCurve:
    """What keeping the detections of at least a score gives: (points,) each, scores ascending."""

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def score_thresholds(analysis: Analysis, names: Mapping[int, str]) -> dict[str, Any]:
    """The best thresholds, as JSON values.

    Args:
      analysis: of all detections.
      names: of the categories, by id.

    Returns:
      {"overall": {"threshold", "f1", "precision", "recall"} or None where nothing right was found,
      "classes": [{"category_id", "name", the same four}, ...] of those in which something was}.
    """
    classes = []
    for category_id, name in names.items():
        if point := _point(analysis, category_id):
            classes.append({"category_id": category_id, "name": name, **point})
    return {"overall": _point(analysis, None), "classes": classes}


def threshold_curve(analysis: Analysis) -> ThresholdCurve:
    """Precision, recall and F1 by threshold; empty without detections or objects."""
    counted = analysis.dt_right | analysis.dt_wrong
    num_objects = int(np.count_nonzero(~analysis.gt_crowd))
    if not counted.any() or not num_objects:
        return ThresholdCurve(*(np.zeros(0) for _ in range(4)))
    score, right = analysis.dt_score[counted], analysis.dt_right[counted]
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(right[order])
    kept = np.arange(1, len(score) + 1)
    # A threshold keeps all of the equal scores or none.
    last = np.append(score[:-1] != score[1:], True)
    rows = np.stack(
        [score, hits / kept, hits / num_objects, 2 * hits / (kept + num_objects)], axis=1
    )[last][::-1]
    places = np.unique(np.linspace(0, len(rows) - 1, _MAX_POINTS).round().astype(int))
    return ThresholdCurve(*rows[places].T)


def _point(analysis: Analysis, category_id: int | None) -> dict[str, float] | None:
    counted, objects = analysis.dt_right | analysis.dt_wrong, ~analysis.gt_crowd
    if category_id is not None:
        counted = counted & _is_of(analysis.detections, category_id)
        objects = objects & _is_of(analysis.objects, category_id)
    point = best_operating_point(
        analysis.dt_score[counted],
        analysis.dt_right[counted],
        num_objects=int(np.count_nonzero(objects)),
    )
    if not point.num_true:
        return None
    return {name: getattr(point, name) for name in ("threshold", "f1", "precision", "recall")}


def _is_of(rows: Any, category_id: int) -> np.ndarray:
    return np.array([row["category_id"] == category_id for row in rows], bool)
