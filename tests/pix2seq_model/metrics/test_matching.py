"""Matching by COCO's rules: overlaps by hand, AP equal to the COCO tools' own."""

import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from pix2seq_model.metrics.coco_files import checked_detections, checked_ground_truth
from pix2seq_model.metrics.coco_metrics import evaluate_detections
from pix2seq_model.metrics.matching import (
    NO_MATCH,
    average_precision,
    box_iou,
    indices_by_image,
    match_detections,
)

DATA = Path(__file__).parents[2] / "data" / "evaluation"


def matched(objects, detections, **arguments):
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
    return match_detections(truth, checked_detections(rows), **arguments)


def mean_ap(matching):
    values = []
    for class_id in matching.category_ids:
        chosen = (matching.dt_category == class_id) & ~matching.dt_ignored
        objects = np.count_nonzero((matching.gt_category == class_id) & ~matching.gt_crowd)
        values.append(
            average_precision(matching.dt_true[chosen], matching.dt_score[chosen], objects)
        )
    values = [value for value in values if value >= 0]
    return np.mean(values) if values else -1


def test_overlaps():
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0.0]])
    b = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [20, 20, 5, 5], [0, 0, 100, 100.0]])
    assert box_iou(a, b)[0] == pytest.approx([1, 1 / 3, 0, 0.01])
    assert box_iou(a, b)[1] == pytest.approx([0, 0, 0, 0])
    crowd = np.array([False, False, False, True])
    assert box_iou(a, b, crowd=crowd)[0] == pytest.approx([1, 1 / 3, 0, 1])


def test_the_surer_detection_takes_the_object():
    result = matched(
        [(1, 1, [0, 0, 10, 10], 0)],
        [(1, 1, [0, 0, 10, 9], 0.2), (1, 1, [0, 0, 10, 8], 0.9), (1, 2, [0, 0, 10, 10], 0.95)],
    )
    assert result.dt_score.tolist() == [0.9, 0.2, 0.95]
    assert result.dt_true.tolist() == [True, False, False]
    assert result.dt_false.tolist() == [False, True, True]
    assert result.gt_match.tolist() == [0]


def test_a_crowd_takes_what_no_object_took_and_is_never_missed():
    result = matched(
        [(1, 1, [0, 0, 100, 100], 1), (1, 1, [0, 0, 10, 10], 0)],
        [(1, 1, [0, 0, 10, 10], 0.9), (1, 1, [50, 50, 10, 10], 0.8), (1, 1, [60, 60, 9, 9], 0.7)],
    )
    assert result.dt_ignored.tolist() == [False, True, True]
    assert result.dt_true.tolist() == [True, False, False]
    assert not result.dt_false.any()
    assert not result.gt_missed.any()


def test_nothing_at_all():
    empty = matched([], [])
    assert empty.dt_match.shape == empty.gt_match.shape == (0,)
    assert empty.image_ids == (1, 2, 3)
    only_detections = matched([], [(1, 1, [0, 0, 1, 1], 0.5)])
    assert only_detections.dt_match.tolist() == [NO_MATCH]
    only_objects = matched([(1, 1, [0, 0, 1, 1], 0)], [])
    assert only_objects.gt_missed.tolist() == [True]


def test_only_the_hundred_surest_count():
    result = matched([], [(1, 1, [0, 0, 1, 1], k / 200) for k in range(150)])
    assert len(result.dt_score) == 100
    assert result.dt_score.min() == 50 / 200


def test_indices_by_image():
    images, chosen = np.array([5, 2, 5, 9, 2]), np.array([True, True, True, False, True])
    groups = indices_by_image(images, chosen)
    assert {image: index.tolist() for image, index in groups.items()} == {2: [1, 4], 5: [0, 2]}


@pytest.mark.parametrize(("iou", "key"), [(0.5, "AP50"), (0.75, "AP75")])
def test_ap_is_the_coco_tools_own(iou, key):
    truth = checked_ground_truth(json.loads((DATA / "instances_val2014_100.json").read_text()))
    rows = checked_detections(
        json.loads((DATA / "instances_val2014_fakebbox100_results.json").read_text())
    )
    expected = evaluate_detections(truth, rows).metrics[key]
    assert mean_ap(match_detections(truth, rows, iou_threshold=iou)) == pytest.approx(expected)


_BOX = st.lists(st.integers(0, 8).map(lambda v: v * 10.0), min_size=4, max_size=4)


@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), _BOX, st.sampled_from([0, 0, 1]))),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 2), _BOX, st.sampled_from([0.0, 0.3, 0.9]))
    ),
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_ap_is_the_coco_tools_own_on_random_data(objects, detections):
    result = matched(objects, detections)
    truth = {
        "images": [{"id": i} for i in (1, 2, 3)],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": [
            {"image_id": i, "category_id": c, "bbox": b, "iscrowd": w} for i, c, b, w in objects
        ],
    }
    rows = [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in detections]
    expected = evaluate_detections(truth, rows).metrics["AP50"]
    assert mean_ap(result) == pytest.approx(expected, abs=1e-9)
