"""COCO numbers: known values, both engines alike on real, adversarial and random cases."""

import copy
import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from pix2seq_model.errors import DataError
from pix2seq_model.metrics.coco_files import (
    checked_detections,
    checked_ground_truth,
    clipped_detections,
)
from pix2seq_model.metrics.coco_metrics import (
    ENGINES,
    METRIC_KEYS,
    beyond_the_limit,
    evaluate_detections,
    metrics_table,
)
from tests.fixtures import reference
from tests.fixtures.shared_material import SHARED, needs_shared

DATA = Path(__file__).parents[2] / "data" / "evaluation"
TOLERANCE = 1e-9


def truth_of(annotations, *, images=(1, 2), categories=(1, 2)):
    """A ground truth from (image id, category id, box xywh, crowd, area or None)."""
    return {
        "images": [{"id": i, "width": 640, "height": 480} for i in images],
        "categories": [{"id": c, "name": f"class {c}"} for c in categories],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": list(box),
                "iscrowd": crowd,
                "area": box[2] * box[3] if area is None else area,
            }
            for number, (image, category, box, crowd, area) in enumerate(annotations, start=1)
        ],
    }


def row(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


def assert_engines_agree(truth, detections, image_ids=None):
    truth, detections = checked_ground_truth(truth), checked_detections(detections)
    fast, reference = (
        evaluate_detections(truth, detections, image_ids=image_ids, engine=engine)
        for engine in ("hotcoco", "pycocotools")
    )
    for key in METRIC_KEYS:
        assert fast.metrics[key] == pytest.approx(reference.metrics[key], abs=TOLERANCE), key
        for ours, theirs in zip(fast.per_class, reference.per_class, strict=True):
            assert ours[key] == pytest.approx(theirs[key], abs=TOLERANCE), (key, ours["id"])
    np.testing.assert_allclose(fast.precision, reference.precision, atol=TOLERANCE)
    return fast


def read(name):
    return json.loads((DATA / name).read_text())


# fmt: off
VAL2014 = [.504581, .696973, .572982, .585626, .519400, .501398,
           .386813, .593680, .595353, .639811, .566421, .564291]
EFFICIENTDET = [.357770, .532571, .398128, .190535, .654378, .533961,
                .313179, .406292, .426472, .228142, .671333, .574107]
# fmt: on


def test_the_coco_apis_own_sample_has_its_published_numbers():
    result = assert_engines_agree(
        read("instances_val2014_100.json"), read("instances_val2014_fakebbox100_results.json")
    )
    assert [result.metrics[key] for key in METRIC_KEYS] == pytest.approx(VAL2014, abs=5e-7)
    assert (result.num_images, result.num_detections) == (100, 734)


@needs_shared
def test_more_detections_than_counted_on_some_images_of_a_ground_truth():
    truth = json.loads((SHARED / "coco_sample/annotations/instances_train2017.json").read_text())
    detections = json.loads(
        (
            SHARED / "evaluation/efficientdet/efficientdet_val2017_bbox_results_10img.json"
        ).read_text()
    )
    image_ids = sorted({r["image_id"] for r in detections})
    result = assert_engines_agree(truth, detections, image_ids)
    assert [result.metrics[key] for key in METRIC_KEYS] == pytest.approx(EFFICIENTDET, abs=5e-7)
    assert result.num_images == 10


def test_a_perfect_answer_scores_one_and_absent_sizes_minus_one():
    truth = truth_of([(1, 1, (10, 10, 20, 20), 0, None), (2, 2, (5, 5, 30, 10), 0, None)])
    detections = [row(1, 1, (10, 10, 20, 20), 0.9), row(2, 2, (5, 5, 30, 10), 0.2)]
    result = assert_engines_agree(truth, detections)
    assert result.metrics["AP"] == pytest.approx(1.0)
    assert result.metrics["AP_small"] == pytest.approx(1.0)
    assert result.metrics["AP_large"] == -1
    assert [c["num_objects"] for c in result.per_class] == [1, 1]


def test_ties_in_score_go_by_the_order_given():
    truth = truth_of([(1, 1, (0, 0, 100, 100), 0, None), (2, 1, (0, 0, 100, 100), 0, None)])
    right, wrong = row(1, 1, (0, 0, 100, 100), 0.5), row(1, 1, (300, 300, 10, 10), 0.5)
    first = assert_engines_agree(truth, [right, wrong])
    second = assert_engines_agree(truth, [wrong, right])
    assert first.metrics["AP50"] == pytest.approx(51 / 101)
    assert second.metrics["AP50"] == pytest.approx(51 / 101 / 2)


def test_a_crowd_takes_any_number_of_detections_and_counts_none():
    truth = truth_of([(1, 1, (0, 0, 200, 200), 1, None), (1, 1, (300, 300, 50, 50), 0, None)])
    inside = [row(1, 1, (10 * i, 10 * i, 30, 30), 0.99) for i in range(10)]
    result = assert_engines_agree(truth, [*inside, row(1, 1, (300, 300, 50, 50), 0.5)])
    assert result.metrics["AP"] == pytest.approx(1.0)
    assert result.per_class[0]["num_objects"] == 1


def test_empty_truth_gives_minus_one_and_empty_detections_zero():
    nothing = assert_engines_agree(truth_of([]), [row(1, 1, (0, 0, 5, 5), 0.5)])
    assert set(nothing.metrics.values()) == {-1}
    missed = assert_engines_agree(truth_of([(1, 1, (0, 0, 5, 5), 0, None)]), [])
    assert missed.metrics["AP"] == missed.metrics["AR100"] == 0
    assert missed.metrics["AP_large"] == -1
    both = assert_engines_agree(truth_of([]), [])
    assert both.metrics["AP"] == -1


def test_the_hundred_and_first_detection_does_not_count():
    truth = truth_of([(1, 1, (0, 0, 50, 50), 0, None)])
    noise = [row(1, 1, (200 + i, 200, 20, 20), 0.9) for i in range(100)]
    late = assert_engines_agree(truth, [*noise, row(1, 1, (0, 0, 50, 50), 0.1)])
    assert late.metrics["AR100"] == 0
    early = assert_engines_agree(truth, [*noise[1:], row(1, 1, (0, 0, 50, 50), 0.1)])
    assert early.metrics["AR100"] == pytest.approx(1.0)
    assert early.metrics["AR10"] == 0


def test_category_id_zero_and_annotation_id_zero_count_like_any_other():
    truth = truth_of([(1, 0, (0, 0, 50, 50), 0, None)], categories=(0, 7))
    truth["annotations"][0]["id"] = 0
    result = assert_engines_agree(truth, [row(1, 0, (0, 0, 50, 50), 0.5)])
    assert result.metrics["AP"] == pytest.approx(1.0)


def test_image_ids_that_no_float_holds_are_told_apart():
    first, second = 2**60 + 1, 2**60 + 2
    truth = truth_of([(first, 1, (0, 0, 50, 50), 0, None)], images=(first, second))
    right = assert_engines_agree(truth, [row(first, 1, (0, 0, 50, 50), 0.5)])
    wrong = assert_engines_agree(truth, [row(second, 1, (0, 0, 50, 50), 0.5)])
    assert (right.metrics["AP"], wrong.metrics["AP"]) == (pytest.approx(1.0), 0.0)


def test_the_annotated_area_decides_the_size_not_the_box():
    truth = truth_of([(1, 1, (0, 0, 100, 100), 0, 900.0)])
    result = assert_engines_agree(truth, [row(1, 1, (0, 0, 100, 100), 0.5)])
    assert result.metrics["AR_small"] == pytest.approx(1.0)
    assert result.metrics["AR_large"] == -1


def test_area_and_crowd_may_be_absent():
    truth = truth_of([(1, 1, (0, 0, 10, 10), 0, None)])
    for key in ("area", "iscrowd"):
        del truth["annotations"][0][key]
    assert assert_engines_agree(truth, []).metrics["AP_small"] == 0


@pytest.mark.parametrize("area", [32**2, 96**2])
def test_an_object_on_the_border_of_two_sizes_counts_in_both(area):
    truth = truth_of([(1, 1, (0, 0, 40, 40), 0, float(area))])
    result = assert_engines_agree(truth, [row(1, 1, (0, 0, 40, 40), 0.5)])
    assert result.metrics["AP_medium"] == pytest.approx(1.0)


def test_a_box_at_exactly_the_threshold_counts():
    truth = truth_of([(1, 1, (0, 0, 10, 20), 0, None)])
    result = assert_engines_agree(truth, [row(1, 1, (0, 0, 10, 10), 0.5)])
    assert result.metrics["AP50"] == pytest.approx(1.0)
    assert result.metrics["AP"] == pytest.approx(0.1)


def test_detections_of_unlisted_categories_are_left_out_and_told():
    truth = truth_of([(1, 1, (0, 0, 10, 10), 0, None)])
    result = assert_engines_agree(truth, [row(1, 44, (0, 0, 10, 10), 0.5)])
    assert result.ignored_categories == {44: 1}
    assert result.metrics["AP"] == 0


def test_inputs_are_not_changed():
    truth = truth_of([(1, 1, (0, 0, 10, 10), 0, None)])
    detections = [row(1, 1, (0, 0, 10, 10), 0.5)]
    before = copy.deepcopy((truth, detections))
    evaluate_detections(truth, detections)
    assert (truth, detections) == before


def test_unknown_images_and_engines_are_refused():
    truth = truth_of([(1, 1, (0, 0, 10, 10), 0, None)])
    with pytest.raises(DataError, match=r"image_id.*\[99\]"):
        checked_detections([row(99, 1, (0, 0, 1, 1), 0.5)], image_ids=[1, 2])
    with pytest.raises(DataError, match=r"image_ids: 1 are not images.*\[77\]"):
        evaluate_detections(truth, [], image_ids=[1, 77])
    with pytest.raises(DataError, match="image_ids is empty"):
        evaluate_detections(truth, [], image_ids=[])
    with pytest.raises(DataError, match="choose one of hotcoco, pycocotools"):
        evaluate_detections(truth, [], engine="slow")


def test_the_table_names_every_number_and_class():
    truth = truth_of([(1, 1, (0, 0, 10, 10), 0, None)])
    table = metrics_table(evaluate_detections(truth, []).to_json())
    for text in (*METRIC_KEYS, "class 1", "class 2"):
        assert text in table
    assert "AP_large   -" in table


# Coordinates on a coarse grid and few scores, so that ties and exact thresholds are common.
_BOX = st.tuples(*[st.integers(0, 12).map(lambda v: v * 10.0)] * 4)
_ANNOTATION = st.tuples(
    st.sampled_from([3, 1, 2]),
    st.sampled_from([0, 1, 5]),
    _BOX,
    st.sampled_from([0, 0, 0, 1]),
    st.none() | st.sampled_from([0.0, 1024.0, 5000.0, 9216.0, 20000.0]),
)
_DETECTION = st.tuples(
    st.sampled_from([3, 1, 2]),
    st.sampled_from([0, 1, 5]),
    _BOX | st.tuples(*[st.floats(0, 150)] * 4),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1),
)


@hypothesis.given(st.lists(_ANNOTATION, max_size=15), st.lists(_DETECTION, max_size=40))
@hypothesis.settings(max_examples=150, deadline=None)
def test_engines_agree_on_random_data(annotations, detections):
    truth = truth_of(annotations, images=(3, 1, 2), categories=(5, 0, 1))
    assert_engines_agree(truth, [row(*d) for d in detections])


@pytest.mark.parametrize("seed", range(4))
def test_engines_agree_on_crowded_random_images(seed):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, 300, (120, 4))
    truth = truth_of(
        [(int(rng.integers(1, 5)), int(rng.integers(1, 4)), b, int(rng.random() < 0.1), None)
         for b in boxes.tolist()],
        images=range(1, 5), categories=range(1, 4),
    )  # fmt: skip
    detections = [
        row(a["image_id"], a["category_id"], np.abs(a["bbox"] + rng.normal(0, 9, 4)).tolist(),
            round(rng.random(), 2))
        for a in truth["annotations"]
        for _ in range(14)
    ]  # fmt: skip
    assert_engines_agree(truth, detections)


def test_both_engines_agree_on_the_recorded_detections_with_their_negative_sizes():
    """A box of negative area is no false alarm by COCO's rules, one of no area is."""
    recorded = reference.arrays("evaluation/evaluation")
    names = ("image", "class", "bbox", "score")
    columns = (recorded[f"detection_{name}_antialias"].tolist() for name in names)
    rows = [
        {"image_id": image, "category_id": 1 + category % 2, "bbox": box, "score": score}
        for image, category, box, score in zip(*columns)
    ]
    objects = [row for row in rows if min(row["bbox"][2:]) > 0][::2]
    images = [
        {"id": index + 1, "height": height, "width": width}
        for index, (height, width) in enumerate(recorded["source_size"].tolist())
    ]
    truth = checked_ground_truth(
        {
            "images": images,
            "annotations": objects,
            "categories": [{"id": 1, "name": "even"}, {"id": 2, "name": "odd"}],
        }
    )
    for found, ap in ((rows, 0.526220), (clipped_detections(rows, images), 0.148909)):
        ours, theirs = (evaluate_detections(truth, found, engine=engine) for engine in ENGINES)
        assert ours.metrics == pytest.approx(theirs.metrics, abs=1e-12)
        assert ours.metrics["AP"] == pytest.approx(ap, abs=1e-6)


def test_category_ids_below_zero_and_fields_of_any_type():
    truth = truth_of([(1, -5, (0, 0, 9, 9), 0, None), (2, 2**62, (0, 0, 9, 9), 0, None)])
    truth["categories"] = [{"id": i, "name": "x", "supercategory": 5} for i in (-5, 2**62)]
    truth["images"] = [{**row, "license": "x", "coco_url": None} for row in truth["images"]]
    found = [row(1, -5, (0, 0, 9, 9), 0.9), row(2, 2**62, (0, 0, 9, 9), 0.8)]
    assert_engines_agree(truth, found)
    result = evaluate_detections(checked_ground_truth(truth), found)
    assert [(one["id"], round(one["AP"], 6)) for one in result.per_class] == [(-5, 1), (2**62, 1)]


def test_the_limit_is_of_an_image_and_category():
    boxes = [(5 * n, 0, 4, 4) for n in range(120)]
    one = truth_of([(1, 1, box, 0, None) for box in boxes])
    two = truth_of([(1, 1 + n % 2, box, 0, None) for n, box in enumerate(boxes)])
    assert "so 20 of 120 objects are missed" in beyond_the_limit(one)
    assert beyond_the_limit(two) == ""
    for truth, full in ((one, False), (two, True)):
        rows = [
            row(1, object_["category_id"], object_["bbox"], 0.9) for object_ in truth["annotations"]
        ]
        assert (evaluate_detections(truth, rows).metrics["AP"] > 0.99) == full
