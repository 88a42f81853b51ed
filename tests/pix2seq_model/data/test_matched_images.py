"""Which image of the truth a detection is of, where ids and file names say different things."""

import json

import pytest

from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.matched_images import match_images
from pix2seq_model.errors import DataError


@pytest.fixture
def truth(tmp_path):
    def write(images):
        content = {
            "images": [{"id": key, "file_name": name} for key, name in images.items()],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [],
        }
        (tmp_path / "truth.json").write_text(json.dumps(content))
        return read_annotation_file(tmp_path / "truth.json")

    return write


def _rows(images):
    return [{"image_id": key, "file_name": name} for key, name in images.items()]


def _matched(file, named, **options):
    found = match_images(_rows(named), file, source="found.json", **options)
    return [row["image_id"] for row in found.rows], found.notes


def test_ids_with_the_names_of_the_truth_stay(truth):
    file = truth({1: "val/a.jpg", 2: "val/b.jpg"})
    assert _matched(file, {1: "a.jpg", 2: "b.jpg"}) == ([1, 2], ())


@pytest.mark.parametrize("ids", [(1, 2), (7, 9), ("x", "y")])
def test_ids_that_differ_are_matched_by_name(truth, ids):
    file = truth({ids[0]: "val/b.jpg", ids[1]: "val/a.jpg"})
    found, notes = _matched(file, {1: "a.jpg", 2: "b.jpg"})
    assert found == [str(ids[1]), str(ids[0])]
    assert notes == ("2 images matched by their file names, as their ids differ",)


def test_paths_decide_among_images_of_one_name(truth):
    file = truth({1: "two/a.jpg", 2: "one/a.jpg", 3: "a.jpg"})
    assert _matched(file, {1: "one/a.jpg", 2: "two/a.jpg"})[0] == ["2", "1"]
    with pytest.raises(DataError, match=r"'a.jpg' may be any of .*one/a.jpg"):
        _matched(truth({1: "two/a.jpg", 2: "one/a.jpg"}), {7: "a.jpg"})
    with pytest.raises(DataError, match="are both called as"):
        _matched(truth({5: "a.jpg"}), {1: "a.jpg", 2: "x/a.jpg"})


def test_images_of_one_name_in_other_folders_are_others(truth):
    file = truth({1: "val/a.jpg", 2: "val/b.jpg"})
    found, notes = _matched(file, {7: "train/a.jpg", 8: "val/a.jpg"})
    assert found == ["1"]
    assert "1 images that the truth does not list left out: train/a.jpg" in notes
    with pytest.raises(DataError, match="no image fits"):
        _matched(file, {7: "train/a.jpg", 8: "train/b.jpg"})


def test_nothing_that_fits_is_refused(truth):
    file = truth({1: "a.jpg", 2: "b.jpg"})
    with pytest.raises(DataError, match=r"no image fits: found\.json is of c\.jpg, d\.jpg"):
        _matched(file, {1: "c.jpg", 2: "d.jpg"})
    assert _matched(file, {1: "c.jpg", 2: "d.jpg"}, match="id") == ([1, 2], ())


def test_numbers_in_both_names_that_are_the_id_fit(truth):
    file = truth({42: "COCO_val2014_000000000042.jpg"})
    found, notes = _matched(file, {42: "42.png"})
    assert found == [42]
    assert "the numbers in both files' names" in notes[0]
    with pytest.raises(DataError, match="no image fits"):
        _matched(file, {42: "43.png"})


def test_images_of_one_side_only_are_said(truth):
    file = truth({5: "a.jpg", 6: "b.jpg"})
    listed = {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "more.jpg"}]}
    found, notes = _matched(file, {1: "a.jpg", 2: "more.jpg"}, images=listed)
    assert found == ["5"]
    assert notes[1] == "1 images that the truth does not list left out: more.jpg"
    assert notes[2].startswith("1 of the truth's 2 images were not looked at")


def test_results_without_names_go_by_their_ids(truth):
    file = truth({5: "a.jpg"})
    rows = [{"image_id": 5}]
    assert match_images(rows, file, source="found.json").rows == rows
    with pytest.raises(DataError, match="says no file names"):
        match_images(rows, file, source="found.json", match="name")
    # The list next to the results names them.
    listed = {"images": [{"id": 1, "file_name": "a.jpg"}]}
    found = match_images([{"image_id": 1}], file, images=listed, source="found.json")
    assert found.rows == [{"image_id": "5"}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": 1, "file_name": 7}], r"row\[0\].file_name is 7, not a text"),
        (_rows({1: "a"}) + _rows({1: "b"}), "image 1 is both 'a' and 'b'"),
    ],
)
def test_names_of_other_types_and_contradictions(truth, rows, message):
    with pytest.raises(DataError, match=message):
        match_images(rows, truth({1: "a"}), source="found.json")
