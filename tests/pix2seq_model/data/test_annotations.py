"""Rows of COCO files: what is marked, and what is refused."""

import math
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.data.annotations import (
    AnnotationRow,
    ImageRow,
    check_start,
    no_rows_problem,
    parse_annotation_row,
    parse_image_row,
)
from pix2seq_model.errors import DataError

IMAGE = {"id": 7, "file_name": "a/b.jpg", "height": 3, "width": 4, "license": 1}
BOX = {"id": 5, "image_id": 7, "category_id": 2, "bbox": [0, 1.5, 2, 3], "area": 6, "iscrowd": 1}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["images", "annotation"], "no such list; it has 'annotation': rename it to 'annotations'"),
        (["images", "boxes"], r"no such list; the file has the keys \['images', 'boxes'\]"),
        (["annotations"], "it is empty or no list"),
        ([], "not an object"),
    ],
)
def test_a_list_that_is_not_there(keys, message):
    assert re.search(message, no_rows_problem(keys, "annotations", path="x.json"))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1",
            "x.json is a Git LFS pointer.*git lfs pull",
        ),
        (b"<!DOCTYPE html>", "is an HTML page"),
        (b"[1]", r"begins with b'\[1\]'; COCO's format is one JSON object"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"", "is empty"),
    ],
)
def test_a_file_that_is_none(start, message):
    check_start(b"\xef\xbb\xbf {", path="x.json")
    with pytest.raises(DataError, match=message):
        check_start(start, path="x.json")


def test_image_rows():
    assert parse_image_row(IMAGE, 9) == ImageRow(9, "7", "a/b.jpg", 3, 4)
    assert parse_image_row({**IMAGE, "id": "x7"}, 0).image_id == "x7"
    assert parse_image_row({**IMAGE, "id": 7.0, "height": 3.0}, 0) == ImageRow(
        0, "7", "a/b.jpg", 3, 4
    )
    lvis = parse_image_row({"id": 7, "coco_url": "http://x.org/a.jpg"}, 0)
    assert (lvis.file_name, lvis.problem) == ("http://x.org/a.jpg", "")
    no_size = parse_image_row({"id": 7, "file_name": "a"}, 0)
    assert (no_size.height, no_size.width, no_size.problem) == (0, 0, "")


@pytest.mark.parametrize(
    "size", [{"height": 0}, {"width": "4"}, {"width": None}, {"height": -1}, {"width": 1e300}]
)
def test_a_size_that_is_none_is_left_to_the_file(size):
    assert parse_image_row({**IMAGE, **size}, 9) == ImageRow(9, "7", "a/b.jpg", 0, 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": None}, "id is None"),
        ({"file_name": ""}, "file_name is ''"),
        ({"file_name": 5}, "file_name is 5"),
        ({"file_name": None, "coco_url": 5}, "file_name is 5"),
    ],
)
def test_unusable_image_rows(change, problem):
    assert problem in parse_image_row({**IMAGE, **change}, 0).problem
    other_key = parse_image_row({"id": 7, "filename": "a.jpg"}, 0)
    assert other_key.problem == "file_name is None; the row has 'filename'"


def test_annotation_rows():
    row = parse_annotation_row(BOX, 3)
    assert row == AnnotationRow(3, "7", "5", "2", [0, 1.5, 2, 3], 6, 1)
    assert (row.is_crowd, row.is_fake, row.is_reflected) == (True, False, False)
    bare = {name: BOX[name] for name in ("image_id", "category_id", "bbox")}
    assert parse_annotation_row(bare, 3) == AnnotationRow(
        3, "7", "row 3", "2", BOX["bbox"], None, 0
    )
    marked = parse_annotation_row({**BOX, "iscrowd": 0, "isfake": 1, "isreflected": 1}, 0)
    assert (marked.is_crowd, marked.is_fake, marked.is_reflected) == (False, True, True)
    for flag, expected in (
        ("0", 0),
        ("false", 0),
        ("", 0),
        (None, 0),
        ("1", 1),
        (True, 1),
        (1.0, 1),
    ):
        row = parse_annotation_row({**BOX, "iscrowd": flag}, 0)
        assert (row.is_crowd, row.problem) == (bool(expected), "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_id": None}, "image_id is None"),
        ({"category_id": None}, "category_id is None"),
        ({"bbox": [1, 2, 3]}, "not [x, y, width, height]"),
        ({"bbox": None}, "bbox is None"),
        ({"bbox": [1, 2, 3, "4"]}, "not [x, y, width, height]"),
        ({"iscrowd": "maybe"}, "iscrowd is 'maybe'"),
    ],
)
def test_unusable_annotation_rows(change, problem):
    assert problem in parse_annotation_row({**BOX, **change}, 0).problem


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["id", "file_name", "height", "width"]), ANYTHING) | ANYTHING
)
def test_no_image_row_ends_the_job(raw):
    row = parse_image_row(raw, 1)
    assert row.problem or (row.image_id and row.file_name)


@given(st.dictionaries(st.sampled_from([*BOX, "isfake"]), ANYTHING) | ANYTHING)
def test_no_annotation_row_ends_the_job(raw):
    row = parse_annotation_row(raw, 1)
    assert row.problem or (row.image_id and row.category and len(row.bbox) == 4)


@pytest.mark.parametrize(
    ("bbox", "area", "packed"),
    [
        ([1.0, 2.0, 0.1, 0.3], 0.1 * 0.3, True),
        ([1.0, 2.0, 0.1, 0.3], 0.05, 0.05),
        ([1.0, 2.0, 1.0, 1.0], 1.0, True),
        ([1.0, 2.0, 3.0, math.inf], math.inf, math.inf),
        ([1.0, 2.0, 3.0, math.nan], None, None),
        ([], 4.0, 4.0),
    ],
)
def test_an_area_that_the_box_says_already_is_not_carried(bbox, area, packed):
    row = parse_annotation_row({"image_id": 1, "category_id": 2, "bbox": bbox, "area": area}, 0)
    values = row.packed()
    assert values[5] is packed or values[5] == packed
    assert AnnotationRow.unpacked(values).area == row.area


def test_a_missing_number_of_a_box_travels_twice():
    row = parse_annotation_row({"image_id": 1, "category_id": 2, "bbox": [1, 2, None, 4]}, 0)
    for _ in range(2):
        row = AnnotationRow.unpacked(orjson.loads(orjson.dumps(row.packed())))
    assert row.bbox[:2] == [1.0, 2.0]
    assert math.isnan(row.bbox[2])


@pytest.mark.parametrize("huge", [10**30, -(10**30), 10**400, 1e300])
def test_huge_numbers_travel_as_json(huge):
    row = parse_annotation_row(
        {"image_id": huge, "id": huge, "category_id": 1, "bbox": [huge, 0, 1, huge], "area": huge},
        0,
    )
    assert orjson.loads(orjson.dumps(row.packed()))[1] == row.image_id
    image = {"id": 1, "file_name": "a.jpg", "height": huge, "width": huge}
    assert parse_image_row(image, 0).height == 0
