"""The result for each image, at one score threshold."""

import dataclasses

import numpy as np

from pix2seq_model.metrics.analysis import Analysis


@dataclasses.dataclass(frozen=True)
class ImageResult:
    """The result for an image, with the detections of at least some score.

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


def image_results(analysis: Analysis, *, threshold: float) -> list[ImageResult]:
    """One row for each image, in the order of `analysis.image_ids`."""
    kept = analysis.dt_score >= threshold
    objects = count_by_image(analysis, analysis.gt_image[~analysis.gt_crowd])
    found = count_by_image(analysis, analysis.dt_image[kept & analysis.dt_right])
    false = count_by_image(analysis, analysis.dt_image[kept & analysis.dt_wrong])
    total = objects + found + false
    f1 = np.where(total == 0, 1.0, 2 * found / np.maximum(total, 1))
    return [
        ImageResult(image_id, int(o), int(n), int(w), float(f))
        for image_id, o, n, w, f in zip(analysis.image_ids, objects, found, false, f1)
    ]


def count_by_image(analysis: Analysis, image_ids: np.ndarray) -> np.ndarray:
    """How often each image is among `image_ids`, in the order of `analysis.image_ids`."""
    places = np.searchsorted(np.array(analysis.image_ids), image_ids)
    return np.bincount(places, minlength=len(analysis.image_ids))
