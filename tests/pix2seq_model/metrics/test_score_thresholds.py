"""Best thresholds by hand."""

import numpy as np
import pytest

from pix2seq_model.metrics.analysis import analyse
from pix2seq_model.metrics.score_thresholds import score_thresholds, threshold_curve

_NAMES = {1: "cat", 2: "dog", 3: "bird"}


def _box(index, category_id, **more):
    box = {"image_id": 1, "category_id": category_id, "bbox": [20.0 * index, 0.0, 10.0, 10.0]}
    return {**box, **more}


def _analysis(detections):
    """Two cats and a dog; what is detected beyond index 2 is of nothing."""
    truth = [
        _box(index, category_id, id=index + 1, area=100.0, iscrowd=0)
        for index, category_id in enumerate((1, 1, 2))
    ]
    images = [{"id": 1, "file_name": "a.jpg", "height": 100, "width": 1000}]
    categories = [{"id": number, "name": name} for number, name in _NAMES.items()]
    return analyse({"images": images, "annotations": truth, "categories": categories}, detections)


@pytest.fixture
def analysis():
    return _analysis(
        [
            _box(0, 1, score=0.9),
            _box(1, 1, score=0.4),
            _box(5, 1, score=0.3),
            _box(2, 2, score=0.6),
            _box(6, 2, score=0.7),
            _box(7, 3, score=0.8),
        ]
    )


def test_the_best_of_each_class_and_of_all(analysis):
    found = score_thresholds(analysis, _NAMES)
    by_name = {row["name"]: row for row in found["classes"]}
    assert set(by_name) == {"cat", "dog"}  # No bird was ever there.
    assert by_name["cat"]["threshold"] == 0.4
    assert (by_name["cat"]["precision"], by_name["cat"]["recall"]) == (1, 1)
    assert by_name["dog"]["threshold"] == 0.6
    assert by_name["dog"]["f1"] == pytest.approx(2 / 3)
    # At 0.4: three of five right, of three objects.
    assert found["overall"]["threshold"] == 0.4
    assert found["overall"]["f1"] == pytest.approx(6 / 8)


def test_the_curve_has_the_best_point_on_it(analysis):
    curve = threshold_curve(analysis)
    assert curve.threshold.tolist() == [0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
    np.testing.assert_allclose(curve.f1, [6 / 9, 6 / 8, 4 / 7, 2 / 6, 2 / 5, 2 / 4])
    np.testing.assert_allclose(curve.precision[-1], 1.0)
    np.testing.assert_allclose(curve.recall, [1, 1, 2 / 3, 1 / 3, 1 / 3, 1 / 3])


def test_nothing_right_gives_no_threshold():
    wrong = _analysis([_box(9, 1, score=0.5)])
    assert score_thresholds(wrong, _NAMES) == {"overall": None, "classes": []}
    assert not len(threshold_curve(_analysis([])).f1)
