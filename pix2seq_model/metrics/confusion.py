"""Which class is taken for which: objects against detections, whatever their class."""

import dataclasses

import numpy as np

from pix2seq_model.metrics.matching import Matching, box_iou, indices_by_image


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
        rows, columns = np.unravel_index(order, between.shape)
        return [
            (self.category_ids[r], self.category_ids[c], int(between[r, c]))
            for r, c in zip(rows, columns)
            if between[r, c]
        ]


def confusion_matrix(matching: Matching, *, threshold: float) -> Confusion:
    """Pairs detections and objects of an image by descending overlap, classes disregarded.

    Args:
      matching: whose boxes and IoU threshold are used; its pairs, made within classes, are not.
        Crowds and detections on them are left out.
      threshold: least score.
    """
    place = {class_id: index for index, class_id in enumerate(matching.category_ids)}
    nothing = len(place)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    dt_kept = (matching.dt_score >= threshold) & ~matching.dt_ignored
    dt_by_image = indices_by_image(matching.dt_image, dt_kept)
    gt_by_image = indices_by_image(matching.gt_image, ~matching.gt_crowd)
    none = np.zeros(0, np.int64)
    for image in dt_by_image.keys() | gt_by_image.keys():
        dt, gt = dt_by_image.get(image, none), gt_by_image.get(image, none)
        overlap = box_iou(matching.dt_box[dt], matching.gt_box[gt])
        dt_free, gt_free = np.ones(len(dt), bool), np.ones(len(gt), bool)
        # Of equal overlaps the pair of one class comes first.
        same = matching.dt_category[dt][:, None] == matching.gt_category[gt][None, :]
        order = np.lexsort((~same.ravel(), -overlap.ravel()))
        for pair in order:
            row, column = divmod(int(pair), len(gt))
            if overlap[row, column] < matching.iou_threshold:
                break
            if dt_free[row] and gt_free[column]:
                dt_free[row] = gt_free[column] = False
                true = place[int(matching.gt_category[gt[column]])]
                counts[true, place[int(matching.dt_category[dt[row]])]] += 1
        for column in np.flatnonzero(gt_free):
            counts[place[int(matching.gt_category[gt[column]])], nothing] += 1
        for row in np.flatnonzero(dt_free):
            counts[nothing, place[int(matching.dt_category[dt[row]])]] += 1
    return Confusion(category_ids=matching.category_ids, counts=counts, threshold=threshold)
