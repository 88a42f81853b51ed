"""What a score means: how often a detection of a score is right, and which score to cut at."""

import dataclasses

import numpy as np

from pix2seq_model.metrics.matching import Matching


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Scores against the share of right detections, in bins of equal width.

    Attributes:
      edges: (bins + 1,) scores.
      count: (bins,) detections in each bin.
      mean_score: (bins,), NaN where a bin is empty.
      share_right: (bins,), NaN where a bin is empty.
      error: expected calibration error, the mean over detections of |mean score - share right|
        of their bin (Guo et al., "On Calibration of Modern Neural Networks", 2017); NaN without
        detections.
    """

    edges: np.ndarray
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


def calibrate(matching: Matching, *, bins: int = 10) -> Calibration:
    """Compares scores with the share of right detections; detections on crowds are left out."""
    counted = ~matching.dt_ignored
    score, right = matching.dt_score[counted], matching.dt_true[counted]
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_of = np.clip(np.digitize(score, edges[1:-1]), 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    empty = np.where(count == 0, np.nan, 1.0)
    mean_score = np.bincount(bin_of, weights=score, minlength=bins) * empty / np.maximum(count, 1)
    share = np.bincount(bin_of, weights=right, minlength=bins) * empty / np.maximum(count, 1)
    gap = np.nan_to_num(np.abs(mean_score - share))
    error = float((gap * count).sum() / count.sum()) if count.sum() else float("nan")
    return Calibration(
        edges=edges, count=count, mean_score=mean_score, share_right=share, error=error
    )


def best_operating_point(matching: Matching) -> OperatingPoint:
    """Looks at every score as a threshold; of equal ones takes the highest."""
    counted = ~matching.dt_ignored
    score, right = matching.dt_score[counted], matching.dt_true[counted]
    num_objects = int(np.count_nonzero(~matching.gt_crowd))
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
