"""Which images to look at: the best, the worst, the crowded, the missed, the false alarms."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from pix2seq_model.metrics.analysis import Analysis
from pix2seq_model.metrics.image_results import count_by_image, image_results


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Images that show one thing; `key` names it: sample, best, worst, crowded, missed, alarms."""

    key: str
    image_ids: tuple[int, ...]


def choose_galleries(analysis: Analysis, *, threshold: float, num_pictures: int) -> list[Gallery]:
    """Shares `num_pictures` among the galleries; an image is shown once.

    A small data set may leave a gallery with fewer pictures or none; those are left out.
    """
    results = image_results(analysis, threshold=threshold)
    per_gallery = max(1, num_pictures // 6)
    shown: set[int] = set()

    def take(image_ids: Iterable[int], number: int) -> tuple[int, ...]:
        number = min(number, num_pictures - len(shown))
        taken = [i for i in dict.fromkeys(image_ids) if i not in shown][:number]
        shown.update(taken)
        return tuple(taken)

    with_objects = [result for result in results if result.num_objects]
    alarms = np.flatnonzero(analysis.dt_alarm & (analysis.dt_score >= threshold))
    alarms = alarms[np.argsort(-analysis.dt_score[alarms], kind="stable")]
    unfound = count_by_image(analysis, analysis.gt_image[analysis.gt_missed])
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
        "missed": take((analysis.image_ids[i] for i in most_missed if unfound[i]), per_gallery),
        "alarms": take((int(analysis.dt_image[i]) for i in alarms), per_gallery),
    }
    # What is left goes to images that nobody chose: every so many-th of the data set.
    rest = [i for i in analysis.image_ids if i not in shown]
    left = min(num_pictures - len(shown), len(rest))
    chosen["sample"] = take((rest[k * len(rest) // left] for k in range(left)), left)
    order = ("sample", "best", "worst", "crowded", "missed", "alarms")
    return [Gallery(key, chosen[key]) for key in order if chosen[key]]
