"""Ground truth out of records: the annotation file's own ids and pixels."""

import json

import numpy as np
import pytest

from pix2seq_model.data.ground_truth import (
    read_images,
    read_split_truth,
)
from pix2seq_model.data.records import decode_example
from pix2seq_model.errors import DataError
from tests.fixtures.evaluated_model import EXAMPLES, write_examples
from tests.fixtures.records import example, smooth_image


def test_every_image_is_in_it_those_without_objects_too(tmp_path):
    truth = read_split_truth(write_examples(tmp_path), "val")
    assert [row["id"] for row in truth.coco["images"]] == [17, 5, 203, 8, 9]
    assert truth.coco["images"][2] == {
        "id": 203,
        "file_name": "203.jpg",
        "height": 64,
        "width": 32,
    }
    assert truth.image_numbers == {"17": 17, "5": 5, "203": 203, "8": 8, "9": 9}
    assert [row["image_id"] for row in truth.coco["annotations"]] == [17, 17, 203, 8, 9]


def test_boxes_are_pixels_xywh_and_ids_start_at_one(tmp_path):
    annotations = read_split_truth(write_examples(tmp_path), "val").coco["annotations"]
    assert annotations[0] == {
        "id": 1,
        "image_id": 17,
        "category_id": 2,
        "bbox": [6.0, 4.0, 24.0, 16.0],
        "area": 384.0,
        "iscrowd": 0,
    }
    assert annotations[2]["iscrowd"] == 1
    assert annotations[2]["bbox"] == [0.0, 0.0, 32.0, 64.0]


def test_pixels_with_two_digits_survive_the_records(tmp_path):
    rng = np.random.default_rng(0)
    corners = np.round(np.sort(rng.uniform(0, 100, (20, 2, 2)), axis=1), 2)  # (n, corner, xy)
    boxes = [(y0 / 480, x0 / 640, y1 / 480, x1 / 640) for (x0, y0), (x1, y1) in corners.tolist()]
    record = example("1", [(box, 2) for box in boxes], pixels=smooth_image(480, 640))
    truth = read_split_truth(write_examples(tmp_path, (record,)), "val")
    expected = [[x0, y0, x1 - x0, y1 - y0] for (x0, y0), (x1, y1) in corners.tolist()]
    found = [row["bbox"] for row in truth.coco["annotations"]]
    np.testing.assert_array_equal(np.array(found), np.round(expected, 3))


def test_image_ids_that_are_no_numbers_are_counted(tmp_path):
    records = (example("a/1", []), example("007", []), example("8", []))
    truth = read_split_truth(write_examples(tmp_path, records), "val")
    assert truth.image_numbers == {"a/1": 1, "007": 2, "8": 3}


def test_images_are_read_by_id(tmp_path):
    folder = write_examples(tmp_path)
    images = read_split_truth(folder, "val").coco["images"]
    found = read_images(folder, "val", images, [5, 9])
    # One of each shard.
    assert found == {i: decode_example(EXAMPLES[k])["image_encoded"] for i, k in ((5, 1), (9, 4))}
    assert read_images(folder, "val", images, []) == {}


def test_records_that_contradict_their_manifest_are_refused(tmp_path):
    twice = write_examples(tmp_path / "twice", (EXAMPLES[0], EXAMPLES[0]))
    with pytest.raises(DataError, match="image '17' occurs twice"):
        read_split_truth(twice, "val")
    unknown = write_examples(tmp_path / "unknown", (example("1", [((0, 0, 1, 1), 9)]),))
    with pytest.raises(DataError, match="has the label 9, which is none of the manifest's"):
        read_split_truth(unknown, "val")
    empty = write_examples(tmp_path / "empty", ())
    with pytest.raises(DataError, match="is empty: there is nothing to evaluate"):
        read_split_truth(empty, "val")
    fewer = write_examples(tmp_path / "fewer")
    manifest = json.loads((fewer / "dataset_info.json").read_text())
    manifest["splits"]["val"]["num_examples"] = 6
    (fewer / "dataset_info.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="is 6, its shards hold 5"):
        read_split_truth(fewer, "val")
