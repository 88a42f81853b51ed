"""Why AP is not higher: kinds of errors and what each costs, in the sense of TIDE.

After Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020, arXiv:2008.08115, section 2. Written from the paper. Foreground from IoU 0.5,
background up to IoU 0.1. A wrong detection is one of

  localisation   overlaps an object of its class too little (IoU 0.1 to 0.5)
  class          lies well on an object of another class (IoU at least 0.5)
  duplicate      lies well on an object of its class that a surer detection has already found
  background     overlaps no object (IoU at most 0.1)
  both           overlaps an object of another class, and too little

and an object is `missed` if nothing found it and no localisation or class error lies on it. What
a kind costs is how much AP50 rises when an oracle mends that kind and nothing else; the costs do
not add up to 1 - AP50.
"""

import dataclasses

import numpy as np

from pix2seq_model.metrics.matching import (
    NO_MATCH,
    Matching,
    average_precision,
    box_iou,
    indices_by_image,
)

BACKGROUND_IOU = 0.1
KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
MEANINGS = {
    "class": "right place, wrong class",
    "localisation": "right class, box too far off",
    "both": "wrong class and box too far off",
    "duplicate": "an object found a second time",
    "background": "nothing there",
    "missed": "an object that nothing found",
}


@dataclasses.dataclass(frozen=True)
class ErrorAnalysis:
    """What was wrong, and what it costs.

    Attributes:
      kind: (D,) str, one of KINDS for a wrong detection, "" for a right or ignored one.
      target: (D,) the object that a class or localisation error lies on, else NO_MATCH.
      missed: (G,) bool, objects that no detection found and no mendable one lies on.
      counts: number of errors by kind.
      costs: rise of AP50 by kind, when that kind is mended.
      false_positive_cost: rise of AP50 were no detection wrong.
      false_negative_cost: rise of AP50 were no object left unfound.
      ap50: mean over classes with objects, -1 if there are none.
    """

    kind: np.ndarray
    target: np.ndarray
    missed: np.ndarray
    counts: dict[str, int]
    costs: dict[str, float]
    false_positive_cost: float
    false_negative_cost: float
    ap50: float


def analyse_errors(matching: Matching) -> ErrorAnalysis:
    """Sorts every error into a kind and mends each kind in turn.

    Args:
      matching: at IoU 0.5.
    """
    kind, target = _classify(matching)
    mendable = np.zeros(len(matching.gt_image), bool)
    mendable[target[target != NO_MATCH]] = True
    missed = matching.gt_missed & ~mendable

    ap50 = _mean_ap(matching)
    costs = {
        "class": _cost(ap50, matching, *_mend(matching, kind == "class", target)),
        "localisation": _cost(ap50, matching, *_mend(matching, kind == "localisation", target)),
        **{
            name: _cost(ap50, matching, drop=kind == name)
            for name in ("both", "duplicate", "background")
        },
        "missed": _cost(ap50, matching, forgiven=missed),
    }
    counts = {name: int(np.count_nonzero(kind == name)) for name in KINDS}
    counts["missed"] = int(np.count_nonzero(missed))
    return ErrorAnalysis(
        kind=kind,
        target=target,
        missed=missed,
        counts=counts,
        costs={name: costs[name] for name in KINDS},
        false_positive_cost=_cost(ap50, matching, drop=matching.dt_false),
        false_negative_cost=_cost(ap50, matching, forgiven=matching.gt_missed),
        ap50=ap50,
    )


def _classify(matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each wrong detection, and the object that a mendable one lies on."""
    kind = np.full(len(matching.dt_image), "", dtype="U12")
    target = np.full(len(matching.dt_image), NO_MATCH)
    wrong, objects = matching.dt_false, ~matching.gt_crowd
    dt_by_image = indices_by_image(matching.dt_image, wrong)
    gt_by_image = indices_by_image(matching.gt_image, objects)
    for image, dt in dt_by_image.items():
        gt = gt_by_image.get(image)
        if gt is None:
            kind[dt] = "background"
            continue
        overlap = box_iou(matching.dt_box[dt], matching.gt_box[gt])
        same = matching.dt_category[dt][:, None] == matching.gt_category[gt][None, :]
        for row, index in enumerate(dt):
            kind[index], found = _kind_of(overlap[row], same[row], matching.iou_threshold)
            if found != NO_MATCH:
                target[index] = gt[found]
    return kind, target


def _kind_of(overlap_G: np.ndarray, same_G: np.ndarray, foreground: float) -> tuple[str, int]:
    """The kind of a wrong detection with these overlaps, and which object to mend it with.

    Where several kinds fit, the one that takes least to mend is named, in the order of the
    published toolbox: localisation, class, duplicate.
    """
    own = np.where(same_G, overlap_G, -1.0)
    other = np.where(same_G, -1.0, overlap_G)
    best_own, best_other = int(np.argmax(own)), int(np.argmax(other))
    if BACKGROUND_IOU <= own[best_own] < foreground:
        return "localisation", best_own
    if other[best_other] >= foreground:
        return "class", best_other
    if own[best_own] >= foreground:
        return "duplicate", NO_MATCH
    if overlap_G.max() <= BACKGROUND_IOU:
        return "background", NO_MATCH
    return "both", NO_MATCH


def _mend(
    matching: Matching, chosen: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An oracle puts chosen detections on their objects, in the objects' class.

    An object that was found already, or that a surer mended detection takes, needs no second one:
    that detection is dropped.

    Returns:
      (D,) object now found by each mended detection, else NO_MATCH; (D,) bool, dropped.
    """
    mended = np.full(len(chosen), NO_MATCH)
    drop = np.zeros(len(chosen), bool)
    taken = matching.gt_match != NO_MATCH
    index = np.flatnonzero(chosen)
    for detection in index[np.argsort(-matching.dt_score[index], kind="stable")]:
        if taken[target[detection]]:
            drop[detection] = True
        else:
            taken[target[detection]] = True
            mended[detection] = target[detection]
    return mended, drop


def _cost(
    ap50: float,
    matching: Matching,
    mended: np.ndarray | None = None,
    drop: np.ndarray | None = None,
    forgiven: np.ndarray | None = None,
) -> float:
    if ap50 < 0:
        return 0.0
    better = _mean_ap(matching, mended, drop, forgiven)
    # With every object of every class forgiven nothing is left to be wrong about.
    return (1.0 if better < 0 else better) - ap50


def _mean_ap(
    matching: Matching,
    mended: np.ndarray | None = None,
    drop: np.ndarray | None = None,
    forgiven: np.ndarray | None = None,
) -> float:
    """Mean AP of the classes that have objects, after an oracle's changes.

    Args:
      matching: as measured.
      mended: (D,) object that a detection finds now, else NO_MATCH.
      drop: (D,) detections taken away.
      forgiven: (G,) objects that need not be found.
    """
    correct, category = matching.dt_true, matching.dt_category
    counted = ~matching.dt_ignored
    if mended is not None:
        moved = mended != NO_MATCH
        correct = correct | moved
        category = category.copy()
        category[moved] = matching.gt_category[mended[moved]]
    if drop is not None:
        counted = counted & ~drop
    wanted = ~matching.gt_crowd
    if forgiven is not None:
        wanted = wanted & ~forgiven
    values = []
    for class_id in matching.category_ids:
        chosen = counted & (category == class_id)
        num_objects = int(np.count_nonzero(wanted & (matching.gt_category == class_id)))
        values.append(average_precision(correct[chosen], matching.dt_score[chosen], num_objects))
    values = [value for value in values if value >= 0]
    return float(np.mean(values)) if values else -1.0
