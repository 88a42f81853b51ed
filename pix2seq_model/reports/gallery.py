"""Which images to look at: the best, the worst, the crowded, the missed, the false alarms."""

from collections.abc import Iterable

import numpy as np

from pix2seq_model.metrics.analysis import Analysis
from pix2seq_model.metrics.image_results import count_by_image, image_results


def choose_galleries(
    analysis: Analysis, *, threshold: float, num_pictures: int
) -> dict[str, list[int]]:
    """Shares `num_pictures` among the galleries; an image is shown once.

    Returns:
      Image ids by what they show: sample, best, worst, crowded, missed, alarms. A small data set
      may leave a gallery with fewer pictures or none; those are left out.
    """
    results = [row for row in image_results(analysis, threshold=threshold) if row.num_objects]
    shown: set[int] = set()

    def take(image_ids: Iterable[int], number: int) -> list[int]:
        number = min(number, num_pictures - len(shown))
        taken = [i for i in dict.fromkeys(image_ids) if i not in shown][:number]
        shown.update(taken)
        return taken

    alarms = np.flatnonzero(analysis.dt_alarm & (analysis.dt_score >= threshold))
    alarms = alarms[np.argsort(-analysis.dt_score[alarms], kind="stable")]
    unfound = count_by_image(analysis, analysis.gt_image[analysis.gt_missed])
    most_missed = np.argsort(-unfound, kind="stable")
    best = sorted(results, key=lambda row: (-row.f1, -row.num_objects))
    candidates = {
        "worst": [r.image_id for r in sorted(results, key=lambda r: (r.f1, -r.num_objects))],
        "best": [row.image_id for row in best if row.num_found],
        "crowded": [r.image_id for r in sorted(results, key=lambda r: -r.num_objects)],
        "missed": [analysis.image_ids[i] for i in most_missed if unfound[i]],
        "alarms": analysis.dt_image[alarms].tolist(),
    }
    per_gallery = max(1, num_pictures // 6)
    chosen = {key: take(image_ids, per_gallery) for key, image_ids in candidates.items()}
    # What is left goes to images that nobody chose: every so many-th of the data set.
    rest = [i for i in analysis.image_ids if i not in shown]
    left = min(num_pictures - len(shown), len(rest))
    chosen["sample"] = take((rest[k * len(rest) // left] for k in range(left)), left)
    order = ("sample", "best", "worst", "crowded", "missed", "alarms")
    return {key: chosen[key] for key in order if chosen[key]}
