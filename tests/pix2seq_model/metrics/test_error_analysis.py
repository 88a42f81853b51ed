"""Kinds of errors by hand, and what mending each of them gives."""

import pytest

from pix2seq_model.metrics.error_analysis import KINDS, analyse_errors
from tests.pix2seq_model.metrics.test_matching import matched

OBJECT = [0, 0, 100, 100]


def analysed(objects, detections):
    return analyse_errors(matched(objects, detections))


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        ((1, 1, [0, 0, 100, 40], 0.5), "localisation"),
        ((1, 2, [0, 0, 100, 90], 0.5), "class"),
        ((1, 2, [0, 0, 100, 40], 0.5), "both"),
        ((1, 1, [500, 500, 10, 10], 0.5), "background"),
        ((1, 1, [0, 0, 100, 5], 0.5), "background"),
        ((2, 1, OBJECT, 0.5), "background"),
    ],
)
def test_each_kind(detection, kind):
    errors = analysed([(1, 1, OBJECT, 0)], [detection])
    assert errors.kind.tolist() == [kind]
    assert errors.counts[kind] == 1
    # Class and localisation errors would have found the object, had they been right.
    assert errors.counts["missed"] == (kind not in ("class", "localisation"))


def test_a_duplicate():
    errors = analysed([(1, 1, OBJECT, 0)], [(1, 1, OBJECT, 0.9), (1, 1, [0, 0, 100, 90], 0.5)])
    assert errors.kind.tolist() == ["", "duplicate"]
    assert errors.ap50 == pytest.approx(1.0)
    assert errors.costs["duplicate"] == pytest.approx(0.0)  # it came after all that was to find


def test_a_detection_on_a_crowd_is_no_error():
    errors = analysed([(1, 1, OBJECT, 1)], [(1, 1, [0, 0, 10, 10], 0.5)])
    assert errors.kind.tolist() == [""]
    assert sum(errors.counts.values()) == 0
    assert errors.ap50 == -1
    assert set(errors.costs.values()) == {0.0}


def test_what_each_kind_costs():
    objects = [(1, 1, OBJECT, 0), (2, 1, OBJECT, 0)]
    right, wrong = (1, 1, OBJECT, 0.5), (2, 1, [300, 300, 50, 50], 0.9)
    errors = analysed(objects, [right, wrong])
    # Recall .5 at precision 1/2: 51 of 101 points.
    assert errors.ap50 == pytest.approx(51 / 101 / 2)
    assert errors.costs["background"] == pytest.approx(51 / 101 / 2)
    assert errors.costs["missed"] == pytest.approx(0.5 - 51 / 101 / 2)
    assert errors.false_positive_cost == pytest.approx(51 / 101 / 2)
    assert errors.false_negative_cost == pytest.approx(0.5 - 51 / 101 / 2)
    for kind in ("class", "localisation", "both", "duplicate"):
        assert errors.costs[kind] == 0


def test_a_mended_class_counts_in_the_class_it_belongs_to():
    errors = analysed([(1, 1, OBJECT, 0)], [(1, 2, OBJECT, 0.9)])
    assert errors.ap50 == 0
    assert errors.costs["class"] == pytest.approx(1.0)
    assert errors.costs["missed"] == 0


def test_of_two_that_could_be_mended_onto_one_object_the_surer_is():
    near = [0, 0, 100, 40]
    errors = analysed(
        [(1, 1, OBJECT, 0), (2, 1, OBJECT, 0)],
        [(1, 1, near, 0.9), (1, 1, near, 0.8), (2, 1, near, 0.7)],
    )
    assert errors.counts["localisation"] == 3
    assert errors.costs["localisation"] == pytest.approx(1.0)


def test_no_detections():
    errors = analysed([(1, 1, OBJECT, 0)], [])
    assert errors.counts == {kind: int(kind == "missed") for kind in KINDS}
    assert errors.costs["missed"] == pytest.approx(1.0)
