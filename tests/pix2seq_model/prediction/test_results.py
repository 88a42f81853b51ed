"""Numbers for images, and the formats of literal small results."""

import numpy as np
import pytest

from pix2seq_model.errors import DataError
from pix2seq_model.prediction.results import Result, Results, image_numbers, result_of

ROWS = [
    {"category_id": 9, "bbox": [10, 20, 30, 40], "score": 0.5},
    {"category_id": 4, "bbox": [0, 0, 100, 200], "score": 0.75},
    {"category_id": 4, "bbox": [1, 1, 0, 5], "score": 0.7},
    {"category_id": 4, "bbox": [1, 1, 5, 5], "score": 0.25},
]
NAMES = {9: "a, b", 4: "c"}


@pytest.fixture
def result():
    return result_of(ROWS, score=0.4, categories=NAMES, source="x.jpg", width=100, height=200)


def test_the_most_likely_first_and_the_rest_counted(result):
    assert result.names == ("a, b", "c", "c")
    assert result.boxes_xyxy.tolist() == [[10, 20, 40, 60], [0, 0, 100, 200], [1, 1, 1, 6]]
    assert (result.num_below, result.best_score) == (1, 0.75)
    assert result.best_first().names == ("c", "a, b")
    nothing = result_of([], score=0.4, categories=NAMES, source="y.jpg")
    assert (len(nothing), nothing.best_score, nothing.boxes_xyxy.shape) == (0, None, (0, 4))


def test_formats(result):
    result = result.best_first()
    assert result.to_coco(image_id=7)[1] == {
        "image_id": 7,
        "file_name": "x.jpg",
        "category_id": 9,
        "bbox": [10, 20, 30, 40],
        "score": 0.5,
    }
    assert result.to_yolo() == (
        "0 0.500000 0.500000 1.000000 1.000000 0.750000\n"
        "1 0.250000 0.200000 0.300000 0.200000 0.500000\n"
    )
    results = Results([result, Result(source="bad.jpg", error="no such file")], categories=NAMES)
    assert results.class_names == ["c", "a, b"]
    assert results.to_yolo()["bad.jpg"] == ""
    assert results.to_csv().splitlines()[2] == ('x.jpg,1,9,"a, b",0.5,10.0,20.0,40.0,60.0,100,200')
    with pytest.raises(DataError, match="the image was not kept"):
        result.plot()


def test_numbers_in_file_names_are_the_ids():
    assert image_numbers(["val/000000397133.jpg", "7.png"]) == [397133, 7]
    assert image_numbers([]) == []


@pytest.mark.parametrize(
    "names",
    [
        ["7.jpg", "007.jpg"],
        ["7.jpg", "cat.jpg"],
        ["-7.jpg", "3.jpg"],
        [f"{2**63}.jpg", "3.jpg"],
        ["9" * 5000 + ".jpg", "3.jpg"],
        ["٣.jpg", "3.jpg"],
        ["1.5.jpg", "3.jpg"],
    ],
)
def test_file_names_that_make_no_sound_ids_are_numbered(names):
    assert image_numbers(names) == [1, 2]


def test_the_largest_number_of_64_bits_is_an_id():
    assert image_numbers([f"{2**63 - 1}.jpg"]) == [np.iinfo(np.int64).max]
