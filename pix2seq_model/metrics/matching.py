"""Which detection found which object, at one IoU, by COCO's rules; the base of all insight.

Boxes are [x, y, width, height] in pixels. Arrays run over all detections (D) or all objects (G)
of a data set, in the order of their images.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NO_MATCH = -1
MAX_DETECTIONS = 100  # of an image and class, as COCO counts


@dataclasses.dataclass(frozen=True)
class Matching:
    """Detections and objects as arrays, and who matched whom.

    Attributes:
      iou_threshold: at which they were matched.
      category_ids: sorted ids of the ground truth's categories.
      dt_image, dt_category, dt_score: (D,), of the detections that count; each image and class
        in descending score.
      dt_box: (D, 4).
      dt_match: (D,) index of the object found, or NO_MATCH.
      dt_ignored: (D,) matched to a crowd: neither right nor wrong.
      gt_image, gt_category, gt_crowd, gt_area: (G,).
      gt_box: (G, 4).
      gt_match: (G,) index of the detection that found it, or NO_MATCH.
      image_ids: all images, in order; those without boxes too.
    """

    iou_threshold: float
    category_ids: tuple[int, ...]
    dt_image: np.ndarray
    dt_category: np.ndarray
    dt_score: np.ndarray
    dt_box: np.ndarray
    dt_match: np.ndarray
    dt_ignored: np.ndarray
    gt_image: np.ndarray
    gt_category: np.ndarray
    gt_crowd: np.ndarray
    gt_area: np.ndarray
    gt_box: np.ndarray
    gt_match: np.ndarray
    image_ids: tuple[int, ...]

    @property
    def dt_true(self) -> np.ndarray:
        """(D,) found an object."""
        return (self.dt_match != NO_MATCH) & ~self.dt_ignored

    @property
    def dt_false(self) -> np.ndarray:
        """(D,) found none, and no crowd either."""
        return (self.dt_match == NO_MATCH) & ~self.dt_ignored

    @property
    def gt_missed(self) -> np.ndarray:
        """(G,) no detection of any score found it; crowds are never missed."""
        return (self.gt_match == NO_MATCH) & ~self.gt_crowd


def match_detections(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    iou_threshold: float = 0.5,
) -> Matching:
    """Matches greedily by score within each image and class, as COCO does.

    Args:
      ground_truth: checked by `coco_files.checked_ground_truth`.
      detections: checked by `coco_files.checked_detections`; those of categories that the ground
        truth does not list are left out.
      iou_threshold: least intersection over union of a match.
    """
    category_ids = tuple(sorted(row["id"] for row in ground_truth["categories"]))
    image_ids = tuple(sorted(row["id"] for row in ground_truth["images"]))
    objects = sorted(ground_truth["annotations"], key=lambda row: row["image_id"])
    known = set(category_ids)
    kept = [row for row in detections if row["category_id"] in known]
    kept = _most_certain(kept)

    gt_box = np.array([row["bbox"] for row in objects], np.float64).reshape(-1, 4)
    dt_box = np.array([row["bbox"] for row in kept], np.float64).reshape(-1, 4)
    gt_crowd = np.array([row["iscrowd"] for row in objects], bool)
    dt_match = np.full(len(kept), NO_MATCH)
    gt_match = np.full(len(objects), NO_MATCH)

    gt_groups, dt_groups = _groups(objects), _groups(kept)
    for key, dt_index in dt_groups.items():
        gt_index = gt_groups.get(key)
        if gt_index is None:
            continue
        overlap = box_iou(dt_box[dt_index], gt_box[gt_index], crowd=gt_crowd[gt_index])
        matched = _match_group(overlap, gt_crowd[gt_index], iou_threshold)
        found = np.flatnonzero(matched != NO_MATCH)
        dt_match[dt_index[found]] = gt_index[matched[found]]
        gt_match[gt_index[matched[found]]] = dt_index[found]

    return Matching(
        iou_threshold=iou_threshold,
        category_ids=category_ids,
        dt_image=np.array([row["image_id"] for row in kept], np.int64),
        dt_category=np.array([row["category_id"] for row in kept], np.int64),
        dt_score=np.array([row["score"] for row in kept], np.float64),
        dt_box=dt_box,
        dt_match=dt_match,
        dt_ignored=(dt_match != NO_MATCH) & _at(gt_crowd, dt_match),
        gt_image=np.array([row["image_id"] for row in objects], np.int64),
        gt_category=np.array([row["category_id"] for row in objects], np.int64),
        gt_crowd=gt_crowd,
        gt_area=np.array([row["area"] for row in objects], np.float64),
        gt_box=gt_box,
        gt_match=gt_match,
        image_ids=image_ids,
    )


def box_iou(
    boxes_a: np.ndarray, boxes_b: np.ndarray, *, crowd: np.ndarray | None = None
) -> np.ndarray:
    """Intersection over union of every pair of xywh boxes.

    Args:
      boxes_a: (A, 4).
      boxes_b: (B, 4).
      crowd: (B,) bool; over a crowd the intersection is divided by the area of `boxes_a` alone.

    Returns:
      (A, B), 0 where both are empty.
    """
    a, b = boxes_a[:, None, :], boxes_b[None, :, :]
    corner = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    sides = np.clip(corner - np.maximum(a[..., :2], b[..., :2]), 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    area_a, area_b = a[..., 2] * a[..., 3], b[..., 2] * b[..., 3]
    union = area_a + area_b - intersection
    if crowd is not None:
        union = np.where(crowd[None, :], area_a, union)
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def indices_by_image(images: np.ndarray, chosen: np.ndarray) -> dict[int, np.ndarray]:
    """The chosen rows of each image, in order; images without any are absent."""
    index = np.flatnonzero(chosen)
    index = index[np.argsort(images[index], kind="stable")]
    ids, starts = np.unique(images[index], return_index=True)
    return dict(zip(ids.tolist(), np.split(index, starts[1:])))


def average_precision(correct: np.ndarray, score: np.ndarray, num_objects: int) -> float:
    """COCO's average precision of one class at one IoU: the mean of 101 interpolated precisions.

    Args:
      correct: (D,) bool; ignored detections must be left out.
      score: (D,); ties go by the order given.
      num_objects: how many there were to find.

    Returns:
      -1 where there was nothing to find.
    """
    if num_objects == 0:
        return -1.0
    if not len(score):
        return 0.0
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(correct[order])
    recall = hits / num_objects
    precision = hits / (np.arange(len(hits)) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    padded = np.append(precision, 0.0)
    return float(np.mean(padded[np.minimum(at, len(precision))]))


def _match_group(overlap_DG: np.ndarray, crowd_G: np.ndarray, threshold: float) -> np.ndarray:
    """For each detection, in descending score, the object it takes; NO_MATCH if none is left.

    An object is taken once, a crowd any number of times, and a crowd only when nothing else fits.
    """
    matched = np.full(len(overlap_DG), NO_MATCH)
    free = ~crowd_G
    threshold = min(threshold, 1 - 1e-10)
    for row, overlap in enumerate(overlap_DG):
        for candidates in (free, crowd_G):
            fitting = np.where(candidates, overlap, -1.0)
            # Of equal overlaps COCO takes the last.
            best = len(fitting) - 1 - int(np.argmax(fitting[::-1]))
            if fitting[best] >= threshold:
                matched[row] = best
                if candidates is free:
                    free[best] = False
                break
    return matched


def _most_certain(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By image, class and descending score, at most MAX_DETECTIONS of an image and class."""
    groups: dict[tuple[int, int], list] = defaultdict(list)
    for row in rows:
        groups[row["image_id"], row["category_id"]].append(row)
    kept = []
    for key in sorted(groups):
        # `sorted` keeps the order of equal scores.
        kept += sorted(groups[key], key=lambda row: -row["score"])[:MAX_DETECTIONS]
    return kept


def _groups(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], np.ndarray]:
    """Indices of the rows of each image and class."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row["image_id"], row["category_id"]].append(index)
    return {key: np.array(indices) for key, indices in groups.items()}


def _at(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """values[indices], False for NO_MATCH."""
    if not len(values):
        return np.zeros(len(indices), bool)
    return np.where(indices == NO_MATCH, False, values[indices])
