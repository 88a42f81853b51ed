"""COCO files: what is taken, what is completed, what is refused and with which words."""

import gzip
import json
import math

import numpy as np
import pytest

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import DataError
from pix2seq_model.metrics.coco_files import (
    checked_detections,
    checked_ground_truth,
    clipped_detections,
    read_detections,
    read_ground_truth,
)


def truth(**changes):
    content = {
        "images": [{"id": 7, "width": 10, "height": 10, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}],
    }
    return {**content, **changes}


def annotation(**changes):
    return truth(annotations=[{**truth()["annotations"][0], **changes}])


def detection(**changes):
    return {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5, **changes}


def test_absent_fields_are_completed_and_numbered_again():
    content = truth(annotations=[{**truth()["annotations"][0], "id": 0} for _ in range(2)])
    checked = checked_ground_truth(content)
    assert checked["annotations"] == [
        {
            "id": number,
            "image_id": 7,
            "category_id": 3,
            "bbox": [1.0, 2.0, 3.0, 4.0],
            "area": 12.0,
            "iscrowd": 0,
        }
        for number in (1, 2)
    ]
    assert checked["images"][0]["file_name"] == "a.jpg"


def test_checking_twice_changes_nothing():
    once = checked_ground_truth(annotation(area=5.5, iscrowd=1))
    assert checked_ground_truth(once) == once
    rows = checked_detections([detection()])
    assert checked_detections(rows) == rows


def test_numbers_of_numpy_are_numbers():
    rows = checked_detections(
        [detection(image_id=np.int64(7), bbox=np.array([1, 2, 3, 4.0]), score=np.float32(0.5))]
    )
    assert rows == [detection(bbox=[1.0, 2.0, 3.0, 4.0])]
    assert type(rows[0]["image_id"]) is int


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "this one is a list"),
        (truth(categories={}), "no list 'categories'"),
        (truth(images=[]), "'images' is empty"),
        (truth(images=[{"id": 7}, {"id": 7}]), "images lists the id 7 more than once"),
        (truth(categories=[{"id": "3", "name": "cat"}]), r"categories\[0\].id is '3'"),
        (truth(annotations=[{"image_id": 7}]), "has no field 'category_id'"),
        (truth(annotations=[5]), r"annotation\[0\] is 5, not an object"),
        (truth(categories=[{"id": 3, "name": 7}]), r"categories\[0\].name is 7, not a text"),
        (truth(images=[{"id": 7, "file_name": 7}]), r"images\[0\].file_name is 7, not a text"),
        (truth(images=[{"id": -7}]), r"images\[0\].id is -7, not a whole number from 0 to"),
        (truth(categories=[{"id": 2**63}]), r"categories\[0\].id is 9223372036854775808, not"),
        (annotation(image_id=8), r"image_id that the ground truth's images do not list.*\[8\]"),
        (annotation(category_id=4), r"category_id that .* categories do not list.*\[4\]"),
        (annotation(bbox=[1, 2, 3]), r"annotation\[0\].bbox is \[1, 2, 3\]"),
        (annotation(bbox=[1, 2, -3, 4]), "width and height not negative"),
        (annotation(bbox=None), r"annotation\[0\].bbox is None"),
        (annotation(area="big"), r"annotation\[0\].area is 'big'"),
        (annotation(iscrowd="0"), r"annotation\[0\].iscrowd is '0', not 0 or 1"),
    ],
)
def test_a_ground_truth_that_cannot_be_used_is_refused(content, message):
    with pytest.raises(DataError, match=f"(?s)gt.json: .*{message}"):
        checked_ground_truth(content, source="gt.json")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "this is a dict"),
        ([detection(score=float("nan"))], r"row\[0\].score is nan, not a finite number"),
        ([detection(), detection(score=True)], r"row\[1\].score is True"),
        ([detection(bbox=[1, 2, float("inf"), 4])], r"row\[0\].bbox"),
        ([detection(image_id=1.5)], r"row\[0\].image_id is 1.5, not a whole number"),
        ([detection(image_id=-1)], r"row\[0\].image_id is -1, not a whole number from 0 to"),
        ([detection(image_id=2**70)], r"row\[0\].image_id is \d+, not a whole number from 0 to"),
        ([detection(category_id=2**63)], r"row\[0\].category_id is \d+, not a whole number"),
        ([{"image_id": 7}], "no field 'category_id'"),
        ([detection(image_id=8)], r"do not list, among them \[8\]"),
    ],
)
def test_detections_that_cannot_be_used_are_refused(rows, message):
    with pytest.raises(DataError, match=f"dt.json: .*{message}"):
        checked_detections(rows, source="dt.json", image_ids=[7])


def test_files_are_written_whole_and_read_back(tmp_path):
    write_json(tmp_path / "deep" / "gt.json", truth())
    write_json(tmp_path / "dt.json", [detection()])
    assert read_ground_truth(tmp_path / "deep" / "gt.json")["categories"][0]["name"] == "cat"
    assert read_detections(tmp_path / "dt.json")[0]["score"] == 0.5
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["gt.json"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "bad.json", [float("nan")])


def test_results_may_be_packed_or_begin_with_a_mark(tmp_path):
    text = json.dumps([detection()]).encode()
    for data in (gzip.compress(text), b"\xef\xbb\xbf" + text):
        (tmp_path / "dt.json").write_bytes(data)
        assert read_detections(tmp_path / "dt.json") == [detection(bbox=[1.0, 2.0, 3.0, 4.0])]
    (tmp_path / "dt.json").write_bytes(gzip.compress(text)[:-9])
    with pytest.raises(DataError, match=r"dt\.json is damaged"):
        read_detections(tmp_path / "dt.json")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.json: no such file"):
        read_detections(tmp_path / "nothing.json")
    with pytest.raises(DataError, match="is a folder"):
        read_detections(tmp_path)
    (tmp_path / "cut.json").write_text(json.dumps(truth())[:-5])
    with pytest.raises(DataError, match=r"cut\.json is damaged.*line 1.*export it again"):
        read_ground_truth(tmp_path / "cut.json")


def test_negative_sizes_are_kept_where_allowed_and_clipped_boxes_have_none():
    rows = [
        {"image_id": 1, "category_id": 1, "bbox": [4.0, 5.0, -2.0, 3.0], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [-4.0, 5.0, 30.0, 3.0], "score": 0.5},
    ]
    with pytest.raises(DataError, match="width and height not negative"):
        checked_detections(rows)
    assert checked_detections(rows, allow_negative=True) == rows
    infinite = [{**rows[0], "bbox": [0, 0, -math.inf, 1]}]
    with pytest.raises(DataError, match="four finite numbers"):
        checked_detections(infinite, allow_negative=True)
    clipped = clipped_detections(rows, [{"id": 1, "width": 20, "height": 7}])
    assert [row["bbox"] for row in clipped] == [[4.0, 5.0, 0.0, 2.0], [0.0, 5.0, 20.0, 2.0]]
    assert clipped_detections([], []) == []
