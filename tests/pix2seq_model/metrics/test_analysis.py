"""Results of detections and objects, errors, confusions and scores: literal cases by hand."""

import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from pix2seq_model.metrics.analysis import KINDS, analyse, best_operating_point, confusion_matrix
from pix2seq_model.metrics.coco_files import checked_detections, checked_ground_truth
from pix2seq_model.metrics.coco_metrics import evaluate_detections

DATA = Path(__file__).parents[2] / "data" / "evaluation"
BOX, OTHER, LARGE = [0, 0, 10, 10], [100, 100, 10, 10], [0, 0, 100, 100]


def checked(objects, detections):
    """Objects (image, class, box, crowd) and detections (image, class, box, score)."""
    truth = checked_ground_truth(
        {
            "images": [{"id": i} for i in (1, 2, 3)],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "annotations": [
                {"image_id": i, "category_id": c, "bbox": b, "iscrowd": w} for i, c, b, w in objects
            ],
        }
    )
    rows = [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in detections]
    return truth, checked_detections(rows)


def analysed(objects, detections):
    return analyse(*checked(objects, detections))


def test_the_surer_detection_takes_the_object():
    result = analysed(
        [(1, 1, BOX, 0)],
        [(1, 1, [0, 0, 10, 9], 0.2), (1, 1, [0, 0, 10, 8], 0.9), (1, 2, BOX, 0.95)],
    )
    assert result.dt_right.tolist() == [False, True, False]
    assert result.dt_wrong.tolist() == [True, False, True]
    assert result.gt_missed.tolist() == [False]


def test_a_crowd_takes_what_no_object_took_and_is_never_missed():
    result = analysed(
        [(1, 1, LARGE, 1), (1, 1, BOX, 0)],
        [(1, 1, BOX, 0.9), (1, 1, [50, 50, 10, 10], 0.8), (1, 1, [60, 60, 9, 9], 0.7)],
    )
    assert result.dt_right.tolist() == [True, False, False]
    assert not result.dt_wrong.any()
    assert not result.gt_missed.any()


def test_nothing_at_all():
    empty = analysed([], [])
    assert empty.dt_right.shape == empty.gt_missed.shape == (0,)
    assert empty.image_ids == (1, 2, 3)
    assert analysed([], [(1, 1, BOX, 0.5)]).dt_wrong.tolist() == [True]
    assert analysed([(1, 1, BOX, 0)], []).gt_missed.tolist() == [True]


def test_only_the_hundred_surest_count():
    result = analysed([], [(1, 1, [0, 0, 1, 1], k / 200) for k in range(150)])
    assert np.flatnonzero(result.dt_wrong).tolist() == list(range(50, 150))


def mean_ap50(truth, result):
    """AP50 from what is right and wrong: the mean of 101 interpolated precisions, by class."""
    values = []
    for category in truth["categories"]:
        dt_class, gt_class = (
            np.array([row["category_id"] == category["id"] for row in rows], bool)
            for rows in (result.detections, result.objects)
        )
        chosen = np.flatnonzero((result.dt_right | result.dt_wrong) & dt_class)
        num_objects = np.count_nonzero(gt_class & ~result.gt_crowd)
        if not num_objects:
            continue
        # COCO takes equal scores in the order of the images.
        order = np.lexsort((result.dt_image[chosen], -result.dt_score[chosen]))
        hits = np.cumsum(result.dt_right[chosen[order]])
        precision = np.maximum.accumulate((hits / (np.arange(len(hits)) + 1))[::-1])[::-1]
        at = np.searchsorted(hits / num_objects, np.linspace(0, 1, 101), side="left")
        values.append(np.append(precision, 0.0)[np.minimum(at, len(precision))].mean())
    return np.mean(values) if values else -1


def test_ap_of_what_is_right_is_the_coco_tools_own():
    truth = checked_ground_truth(json.loads((DATA / "instances_val2014_100.json").read_text()))
    rows = checked_detections(
        json.loads((DATA / "instances_val2014_fakebbox100_results.json").read_text())
    )
    expected = evaluate_detections(truth, rows).metrics["AP50"]
    assert mean_ap50(truth, analyse(truth, rows)) == pytest.approx(expected)


_SIDES = st.lists(st.integers(0, 8).map(lambda v: v * 10.0), min_size=4, max_size=4)


@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), _SIDES, st.sampled_from([0, 0, 1]))),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 2), _SIDES, st.sampled_from([0.0, 0.3, 0.9]))
    ),
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_on_random_data_it_is_so_too_and_every_error_has_one_kind(objects, detections):
    truth, rows = checked(objects, detections)
    result = analyse(truth, rows)
    expected = evaluate_detections(truth, rows, engine="pycocotools").metrics["AP50"]
    assert mean_ap50(truth, result) == pytest.approx(expected, abs=1e-9)
    counts = result.errors.counts
    assert sum(counts.values()) - counts["missed"] == np.count_nonzero(result.dt_wrong)
    assert counts["background"] + counts["both"] == np.count_nonzero(result.dt_alarm)
    assert counts["missed"] == np.count_nonzero(result.gt_missed)


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        ((1, 1, [0, 0, 100, 40], 0.5), "localisation"),
        ((1, 2, [0, 0, 100, 90], 0.5), "class"),
        ((1, 2, [0, 0, 100, 40], 0.5), "both"),
        ((1, 1, [500, 500, 10, 10], 0.5), "background"),
        ((1, 1, [0, 0, 100, 5], 0.5), "background"),
        ((2, 1, LARGE, 0.5), "background"),
    ],
)
def test_each_kind(detection, kind):
    result = analysed([(1, 1, LARGE, 0)], [detection])
    errors = result.errors
    assert errors.counts[kind] == 1
    assert result.dt_alarm.tolist() == [kind in ("both", "background")]
    # Class and localisation errors would have found the object, had they been right.
    is_missed = kind not in ("class", "localisation")
    assert errors.counts["missed"] == is_missed
    assert result.gt_missed.tolist() == [is_missed]


def test_a_duplicate():
    errors = analysed([(1, 1, LARGE, 0)], [(1, 1, LARGE, 0.9), (1, 1, [0, 0, 100, 90], 0.5)]).errors
    assert errors.counts == {kind: int(kind == "duplicate") for kind in KINDS}
    assert errors.costs["duplicate"] == pytest.approx(0.0)  # it came after all that was to find


def test_a_detection_on_a_crowd_is_no_error():
    result = analysed([(1, 1, LARGE, 1)], [(1, 1, [0, 0, 10, 10], 0.5)])
    assert not result.dt_wrong.any()
    assert sum(result.errors.counts.values()) == 0
    assert set(result.errors.costs.values()) == {0.0}


def test_what_each_kind_costs():
    objects = [(1, 1, LARGE, 0), (2, 1, LARGE, 0)]
    right, wrong = (1, 1, LARGE, 0.5), (2, 1, [300, 300, 50, 50], 0.9)
    errors = analysed(objects, [right, wrong]).errors
    # AP50: recall .5 at precision 1/2, 51 of 101 points.
    assert errors.costs["background"] == pytest.approx(51 / 101 / 2)
    assert errors.costs["missed"] == pytest.approx(0.5 - 51 / 101 / 2)
    assert errors.false_positive_cost == pytest.approx(51 / 101 / 2)
    assert errors.false_negative_cost == pytest.approx(0.5 - 51 / 101 / 2)
    for kind in ("class", "localisation", "both", "duplicate"):
        assert errors.costs[kind] == 0


def test_a_fixed_class_counts_in_the_class_it_belongs_to():
    errors = analysed([(1, 1, LARGE, 0)], [(1, 2, LARGE, 0.9)]).errors
    assert errors.costs["class"] == pytest.approx(1.0)
    assert errors.costs["missed"] == 0


def test_of_two_that_could_be_fixed_onto_one_object_the_surer_is():
    near = [0, 0, 100, 40]
    errors = analysed(
        [(1, 1, LARGE, 0), (2, 1, LARGE, 0)],
        [(1, 1, near, 0.9), (1, 1, near, 0.8), (2, 1, near, 0.7)],
    ).errors
    assert errors.counts["localisation"] == 3
    assert errors.costs["localisation"] == pytest.approx(1.0)


def test_no_detections():
    errors = analysed([(1, 1, LARGE, 0)], []).errors
    assert errors.counts == {kind: int(kind == "missed") for kind in KINDS}
    # Without its objects a class that was never detected has nothing to average over.
    assert errors.costs["missed"] == 0


def confusion(objects, detections, *, threshold):
    truth, rows = checked(objects, detections)
    return confusion_matrix(truth, analyse(truth, rows), threshold=threshold)


def test_right_confused_missed_and_invented():
    result = confusion(
        [(1, 1, BOX, 0), (1, 2, OTHER, 0), (2, 1, BOX, 0), (3, 1, BOX, 1)],
        [
            (1, 1, BOX, 0.9),
            (1, 1, OTHER, 0.8),
            (2, 2, OTHER, 0.7),
            (3, 1, [2, 2, 5, 5], 0.9),
            (2, 1, BOX, 0.1),
        ],
        threshold=0.5,
    )
    # Rows: truly a, truly b, nothing there; columns: detected as a, as b, not found.
    assert result.counts.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert result.largest(5) == [(2, 1, 1)]


def test_the_surer_of_two_classes_is_paired():
    result = confusion([(1, 1, BOX, 0)], [(1, 2, BOX, 0.6), (1, 1, BOX, 0.9)], threshold=0.0)
    assert result.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_nothing_to_confuse():
    result = confusion([], [], threshold=0.0)
    assert result.counts.sum() == 0
    assert result.largest(3) == []


def test_bins_means_and_calibration_error():
    result = analysed(
        [(1, 1, BOX, 0), (2, 1, BOX, 0)],
        [(1, 1, BOX, 0.95), (2, 1, BOX, 0.55), (3, 1, BOX, 0.45), (3, 2, BOX, 0.41)],
    ).calibration
    assert result.count.tolist() == [0, 0, 0, 0, 2, 1, 0, 0, 0, 1]
    assert result.mean_score[[4, 5, 9]] == pytest.approx([0.43, 0.55, 0.95])
    assert result.share_right[[4, 5, 9]] == pytest.approx([0, 1, 1])
    assert result.error == pytest.approx((2 * 0.43 + 0.45 + 0.05) / 4)


def test_scores_of_zero_and_one_are_in_the_outer_bins():
    result = analysed([], [(1, 1, BOX, 0.0), (2, 1, BOX, 1.0)]).calibration
    assert result.count.tolist() == [1, *[0] * 8, 1]


def test_without_detections_there_is_no_error_to_speak_of():
    result = analysed([(1, 1, BOX, 0)], []).calibration
    assert result.error == 0
    assert result.count.sum() == 0


def test_the_best_threshold():
    point = analysed(
        [(1, 1, BOX, 0), (2, 1, BOX, 0), (3, 1, BOX, 0)],
        [(1, 1, BOX, 0.9), (2, 1, BOX, 0.8), (1, 2, BOX, 0.7), (2, 2, BOX, 0.6)],
    ).point
    assert point.threshold == 0.8
    assert (point.num_true, point.num_false, point.num_missed) == (2, 0, 1)
    assert (point.precision, point.recall) == pytest.approx((1, 2 / 3))
    assert point.f1 == pytest.approx(0.8)


def test_a_threshold_keeps_all_equal_scores():
    point = best_operating_point(
        np.array([0.5, 0.5, 0.5]), np.array([True, False, False]), num_objects=1
    )
    assert (point.num_true, point.num_false) == (1, 2)


@pytest.mark.parametrize(
    ("objects", "detections"), [([(1, 1, BOX, 0)], []), ([], [(1, 1, BOX, 0.5)]), ([], [])]
)
def test_nothing_to_choose_from(objects, detections):
    point = analysed(objects, detections).point
    assert (point.threshold, point.f1, point.num_true) == (0, 0, 0)
    assert point.num_missed == len(objects)
