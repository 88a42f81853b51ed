"""Scores against the share that is right, and the best threshold, counted by hand."""

import numpy as np
import pytest

from pix2seq_model.metrics.calibration import best_operating_point, calibrate
from tests.pix2seq_model.metrics.test_matching import matched

BOX = [0, 0, 10, 10]


def test_bins_means_and_error():
    result = calibrate(
        matched(
            [(1, 1, BOX, 0), (2, 1, BOX, 0)],
            [(1, 1, BOX, 0.95), (2, 1, BOX, 0.55), (3, 1, BOX, 0.45), (3, 2, BOX, 0.41)],
        ),
        bins=10,
    )
    assert result.count.tolist() == [0, 0, 0, 0, 2, 1, 0, 0, 0, 1]
    assert result.mean_score[[4, 5, 9]] == pytest.approx([0.43, 0.55, 0.95])
    assert result.share_right[[4, 5, 9]] == pytest.approx([0, 1, 1])
    assert np.isnan(result.mean_score[0])
    assert result.error == pytest.approx((2 * 0.43 + 0.45 + 0.05) / 4)


def test_scores_of_zero_and_one_are_in_the_outer_bins():
    result = calibrate(matched([], [(1, 1, BOX, 0.0), (2, 1, BOX, 1.0)]), bins=4)
    assert result.count.tolist() == [1, 0, 0, 1]


def test_without_detections_there_is_no_error_to_speak_of():
    result = calibrate(matched([(1, 1, BOX, 0)], []))
    assert np.isnan(result.error)
    assert result.count.sum() == 0


def test_the_best_threshold():
    point = best_operating_point(
        matched(
            [(1, 1, BOX, 0), (2, 1, BOX, 0), (3, 1, BOX, 0)],
            [(1, 1, BOX, 0.9), (2, 1, BOX, 0.8), (1, 2, BOX, 0.7), (2, 2, BOX, 0.6)],
        )
    )
    assert point.threshold == 0.8
    assert (point.num_true, point.num_false, point.num_missed) == (2, 0, 1)
    assert (point.precision, point.recall) == pytest.approx((1, 2 / 3))
    assert point.f1 == pytest.approx(0.8)


def test_a_threshold_keeps_all_equal_scores():
    point = best_operating_point(
        matched([(1, 1, BOX, 0)], [(1, 1, BOX, 0.5), (2, 1, BOX, 0.5), (3, 1, BOX, 0.5)])
    )
    assert (point.num_true, point.num_false) == (1, 2)


@pytest.mark.parametrize(
    ("objects", "detections"), [([(1, 1, BOX, 0)], []), ([], [(1, 1, BOX, 0.5)]), ([], [])]
)
def test_nothing_to_choose_from(objects, detections):
    point = best_operating_point(matched(objects, detections))
    assert (point.threshold, point.f1, point.num_true) == (0, 0, 0)
    assert point.num_missed == len(objects)
