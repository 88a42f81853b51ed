"""Annotation files as ground truth: read by the conversion's rules."""

import bz2
import gzip
import json
import math

import pytest
from etils.epath.backend import tf_backend

from pix2seq_model.data import annotation_file
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.errors import DataError
from pix2seq_model.metrics.coco_files import checked_detections
from pix2seq_model.metrics.coco_metrics import ENGINES, evaluate_detections

ANYTHING_GOES = DefectLimits(max_dropped_images=1, max_dropped_annotations=1)


def content():
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 9, "width": 8} for i in (7, 5)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog", "supercategory": None}],
        "annotations": [
            {"id": 0, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12.0},
            {"id": 0, "image_id": 5, "category_id": 1, "bbox": [1, 2, 0, 4], "iscrowd": 1},
        ],
    }


def read(folder, given, *, name="a.json", pack=bytes, limits=ANYTHING_GOES):
    (folder / name).write_bytes(pack(json.dumps(given).encode()))
    return read_annotation_file(folder / name, limits=limits)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_in_a_bucket(pack, tmp_path, monkeypatch):
    """What opens those, TensorFlow by etils, gives no file but something for `with`."""

    class InBucket:
        def __init__(self, path):
            self._path = path

        def open(self, mode):
            return tf_backend.open(self._path, mode)

    monkeypatch.setattr(annotation_file.epath, "Path", InBucket)
    assert read(tmp_path, content(), pack=pack).image_numbers == {"7": 7, "5": 5}
    with pytest.raises(DataError, match="no such file"):
        read_annotation_file(str(tmp_path / "none.json"))


def test_whole_numbers_stay_and_annotations_are_counted(tmp_path):
    file = read(tmp_path, content())
    assert file.image_numbers == {"7": 7, "5": 5}
    assert file.category_numbers == {"3": 3, "1": 1}
    assert file.coco == {
        "images": content()["images"],
        "categories": content()["categories"][::-1],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 3,
                "bbox": [1.0, 2.0, 3.0, 4.0],
                "area": 12.0,
                "iscrowd": 0,
            },
            {
                "id": 2,
                "image_id": 5,
                "category_id": 1,
                "bbox": [1.0, 2.0, 0.0, 4.0],
                "area": 0.0,
                "iscrowd": 1,
            },
        ],
    }


def change_rows(array, **change):
    def changed(given):
        given[array] = [{**row, **change} for row in given[array]]

    return changed


def ids_as_text(given):
    for row in given["images"]:
        row["id"] = str(row["id"])
    for row in given["annotations"]:
        row["category_id"] = str(row["category_id"])


@pytest.mark.parametrize(
    "change",
    [
        change_rows("annotations", area=None),
        change_rows("annotations", area="12"),
        change_rows("annotations", area=math.nan),
        change_rows("images", license="x", date_captured=5),
        lambda given: given["annotations"][0].update(iscrowd="0"),
        lambda given: given["annotations"][1].update(iscrowd="true"),
        lambda given: given["annotations"].append({"id": 9, "bbox": [1, 2, 3, 4]}),
        lambda given: given["annotations"].append({**given["annotations"][0], "bbox": None}),
        lambda given: given["annotations"].append({**given["annotations"][0], "image_id": 99}),
        lambda given: given["annotations"].append({**given["annotations"][0], "category_id": 9}),
        lambda given: given["annotations"].append(
            {**given["annotations"][0], "bbox": [0, math.inf, 1, 1]}
        ),
        lambda given: given["categories"].append(given["categories"][0]),
        lambda given: given["images"].append(given["images"][0]),
        lambda given: given["images"].append({"file_name": "x.jpg"}),
        ids_as_text,
    ],
)
def test_other_ways_of_writing_mean_the_same(change, tmp_path):
    given = content()
    change(given)
    plain, other = read(tmp_path, content()).coco, read(tmp_path, given).coco
    assert other["annotations"] == plain["annotations"]
    assert [row["id"] for row in other["images"]] == [7, 5]
    assert other["categories"] == plain["categories"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lambda data: b"\xef\xbb\xbf" + data])
def test_packed_and_with_a_byte_order_mark(pack, tmp_path):
    assert read(tmp_path, content(), pack=pack).coco == read(tmp_path, content()).coco


def test_ids_that_are_text_are_numbered_in_the_results_too(tmp_path):
    given = content()
    given["images"][0]["id"] = given["annotations"][0]["image_id"] = "7.jpg"
    given["categories"][0]["id"] = given["annotations"][0]["category_id"] = "cat"
    file = read(tmp_path, given)
    assert file.image_numbers == {"7.jpg": 1, "5": 2}
    assert file.category_numbers == {"cat": 2, "1": 1}
    results = [{"image_id": "7.jpg", "category_id": c, "score": 1} for c in ("cat", 1, "bird", 9)]
    numbered = file.numbered(results)
    assert [row["image_id"] for row in numbered] == [1, 1, 1, 1]
    assert [row["category_id"] for row in numbered] == [2, 1, 3, 9]
    assert file.category_numbers["bird"] == 3
    with pytest.raises(DataError, match=r"a\.json does not list image '2'"):
        file.numbered([{"image_id": 2, "category_id": 1}])
    assert file.numbered({}) == {}
    assert file.numbered([5]) == [5]


def test_an_id_of_two_files_is_nobodys(tmp_path):
    given = content()
    given["images"].append({"id": 7, "file_name": "other.jpg"})
    file = read(tmp_path, given)
    assert [row["id"] for row in file.coco["images"]] == [5]
    assert file.counts["images"]["dropped"] == {"image_duplicate_id": 2}
    assert file.counts["annotations"]["dropped"] == {"annotation_of_dropped_image": 1}


def test_too_many_rows_that_cannot_be_used_are_refused_with_the_table(tmp_path):
    given = content()
    given["annotations"].append({"id": 9, "image_id": 7, "category_id": 3, "bbox": None})
    with pytest.raises(DataError) as caught:
        read(tmp_path, given, limits=DefectLimits())
    message = str(caught.value)
    assert "a.json: 1 of 3 annotations dropped (33.33%)" in message
    assert "1 dropped annotation_row_invalid" in message
    assert "annotation 9: bbox is None" in message
    assert "1 dropped annotation_row_invalid" in read(tmp_path, given).defects()
    del given["annotations"][1:]
    assert read(tmp_path, given).defects() == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", r"a.json begins with b'\[\]'"),
        (b"version https://git-lfs.github.com", "a.json is a Git LFS pointer"),
        (b'{"images": []}', "no rows under 'categories'"),
        (b'{"categories": [{"id": 1}], "image": []}', "it has 'image': rename it to 'images'"),
        (json.dumps({**content(), "annotations": 0}).encode()[:-9], "broken JSON"),
        (gzip.compress(json.dumps(content()).encode())[:-20], "a.json cannot be read to its end"),
    ],
)
def test_files_that_are_no_truth(data, message, tmp_path):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_annotation_file(tmp_path / "a.json")


def test_a_truth_without_objects_has_the_list(tmp_path):
    given = content()
    given["annotations"] = []
    assert read(tmp_path, given).coco["annotations"] == []
    given["annotation"] = given.pop("annotations")
    with pytest.raises(DataError, match="it has 'annotation': rename it"):
        read(tmp_path, given)
    with pytest.raises(DataError, match="no such file"):
        read_annotation_file(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a folder"):
        read_annotation_file(tmp_path)


@pytest.mark.parametrize("number", [-5, 2**63 - 1, 2**63, 2**70])
@pytest.mark.parametrize("engine", ENGINES)
def test_ids_beyond_64_bits_and_negative_ones_are_numbered_for_both_engines(
    tmp_path, number, engine
):
    row = {"image_id": number, "category_id": number, "bbox": [1, 2, 30, 40]}
    truth = {
        "images": [{"id": number, "file_name": "a.jpg"}],
        "categories": [{"id": number, "name": "cat"}],
        "annotations": [row],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    file = read_annotation_file(tmp_path / "truth.json")
    results = [{**row, "score": 0.5}, {**row, "category_id": 9, "score": 0.4}]
    rows = checked_detections(file.numbered(results))
    assert evaluate_detections(file.coco, rows, engine=engine).metrics["AP"] == pytest.approx(1)
