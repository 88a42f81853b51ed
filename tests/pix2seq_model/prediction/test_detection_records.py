"""Lines and records of detections."""

import json

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.prediction.detection_records import (
    ImageDetections,
    encode_detections,
    json_line,
)
from tests.fixtures.detection_record_reader import decode_detections

NAMES = {2: "ring", 3: "größe"}
ROWS = (
    {"category_id": 3, "bbox": [10.0, 20.5, 30.0, 40.0], "score": 0.75},
    {"category_id": 2, "bbox": [0.0, 0.0, 200.0, 100.0], "score": 0.5},
)
FOUND = ImageDetections(image="a/1.jpg", image_id="", width=200, height=100, rows=ROWS)


def test_a_line_says_all_of_it():
    line = json_line(FOUND, NAMES)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "image": "a/1.jpg",
        "width": 200,
        "height": 100,
        "detections": [
            {"category_id": 3, "category": "größe", "bbox": [10, 20.5, 30, 40], "score": 0.75},
            {"category_id": 2, "category": "ring", "bbox": [0, 0, 200, 100], "score": 0.5},
        ],
    }


@pytest.mark.parametrize("image_id", ["", "17"])
@pytest.mark.parametrize("rows", [ROWS, ()])
def test_a_record_comes_back(image_id, rows):
    found = ImageDetections(image="a/1.jpg", image_id=image_id, width=200, height=100, rows=rows)
    again = decode_detections(encode_detections(found, NAMES))
    assert (again.image, again.image_id) == ("a/1.jpg", image_id)
    assert (again.width, again.height) == (200, 100)
    assert [row["category_id"] for row in again.rows] == [row["category_id"] for row in rows]
    for row, expected in zip(again.rows, rows, strict=True):
        np.testing.assert_allclose(row["bbox"], expected["bbox"], atol=1e-4)
        assert row["score"] == expected["score"]


def test_tensorflow_reads_the_records():
    parsed = tf.io.parse_single_example(
        encode_detections(FOUND, NAMES),
        {
            "image/source_id": tf.io.FixedLenFeature([], tf.string),
            "image/detection/bbox/xmax": tf.io.VarLenFeature(tf.float32),
            "image/detection/label": tf.io.VarLenFeature(tf.int64),
            "image/detection/class/text": tf.io.VarLenFeature(tf.string),
        },
    )
    assert parsed["image/source_id"].numpy() == b"a/1.jpg"
    np.testing.assert_allclose(parsed["image/detection/bbox/xmax"].values, [0.2, 1.0])
    assert parsed["image/detection/label"].values.numpy().tolist() == [3, 2]
    assert parsed["image/detection/class/text"].values[0].numpy().decode() == "größe"
