"""Which images to look at: the best, the worst, the crowded, the missed, the false alarms."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from pix2seq_model.metrics.error_analysis import ErrorAnalysis
from pix2seq_model.metrics.matching import Matching


@dataclasses.dataclass(frozen=True)
class ImageResult:
    """How an image went, with the detections of at least some score.

    Attributes:
      image_id: of the ground truth.
      num_objects: crowds left out.
      num_found: objects found.
      num_false: detections of nothing.
      f1: 2 found / (objects + right and wrong detections); 1 for an image without objects that
        was left alone.
    """

    image_id: int
    num_objects: int
    num_found: int
    num_false: int
    f1: float


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Images that show one thing; `key` names it: sample, best, worst, crowded, missed, alarms."""

    key: str
    image_ids: tuple[int, ...]


def image_results(matching: Matching, *, threshold: float) -> list[ImageResult]:
    """One row for each image, in the order of `matching.image_ids`."""
    kept = matching.dt_score >= threshold
    objects = _count(matching, matching.gt_image, ~matching.gt_crowd)
    found = _count(matching, matching.dt_image, kept & matching.dt_true)
    false = _count(matching, matching.dt_image, kept & matching.dt_false)
    total = objects + found + false
    f1 = np.where(total == 0, 1.0, 2 * found / np.maximum(total, 1))
    return [
        ImageResult(image_id, int(o), int(n), int(w), float(f))
        for image_id, o, n, w, f in zip(matching.image_ids, objects, found, false, f1)
    ]


def choose_galleries(
    matching: Matching, errors: ErrorAnalysis, *, threshold: float, num_pictures: int
) -> list[Gallery]:
    """Shares `num_pictures` among the galleries; an image is shown once.

    A small data set may leave a gallery with fewer pictures or none; those are left out.
    """
    results = image_results(matching, threshold=threshold)
    per_gallery = max(1, num_pictures // 6)
    shown: set[int] = set()

    def take(image_ids: Iterable[int], number: int) -> tuple[int, ...]:
        number = min(number, num_pictures - len(shown))
        taken = [i for i in dict.fromkeys(image_ids) if i not in shown][:number]
        shown.update(taken)
        return tuple(taken)

    with_objects = [result for result in results if result.num_objects]
    alarms = np.flatnonzero(
        np.isin(errors.kind, ("background", "both")) & (matching.dt_score >= threshold)
    )
    alarms = alarms[np.argsort(-matching.dt_score[alarms], kind="stable")]
    unfound = _count(matching, matching.gt_image, errors.missed)
    most_missed = np.argsort(-unfound, kind="stable")
    chosen = {
        "worst": take(
            (r.image_id for r in sorted(with_objects, key=lambda r: (r.f1, -r.num_objects))),
            per_gallery,
        ),
        "best": take(
            (
                r.image_id
                for r in sorted(with_objects, key=lambda r: (-r.f1, -r.num_objects))
                if r.num_found
            ),
            per_gallery,
        ),
        "crowded": take(
            (r.image_id for r in sorted(with_objects, key=lambda r: -r.num_objects)), per_gallery
        ),
        "missed": take((matching.image_ids[i] for i in most_missed if unfound[i]), per_gallery),
        "alarms": take((int(matching.dt_image[i]) for i in alarms), per_gallery),
    }
    # What is left goes to images that nobody chose: every so many-th of the data set.
    rest = [i for i in matching.image_ids if i not in shown]
    left = min(num_pictures - len(shown), len(rest))
    chosen["sample"] = take((rest[k * len(rest) // left] for k in range(left)), left)
    order = ("sample", "best", "worst", "crowded", "missed", "alarms")
    return [Gallery(key, chosen[key]) for key in order if chosen[key]]


def _count(matching: Matching, images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How many of the chosen rows each image has, in the order of `matching.image_ids`."""
    places = np.searchsorted(np.array(matching.image_ids), images[chosen])
    return np.bincount(places, minlength=len(matching.image_ids))
