import keras
import numpy as np
import pytest

from pix2seq_model.metrics.coco_files import checked_detections, clipped_detections
from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original, coco_results
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures import reference

VOCABULARY = Vocabulary(vocab_size=3000, num_bins=1000, coord_shift=1000)


def test_tokens_to_boxes():
    tokens = np.array([[1000, 1999, 1333, 1666, 150, 20, 2500, 1999, 1000, 30]])
    boxes = boxes_from_tokens(tokens, VOCABULARY)
    # Tokens that are no coordinates are clipped to the nearest one.
    expected = [[[0, 1, 333 / 999, 666 / 999], [0, 1, 1, 0]]]
    np.testing.assert_allclose(boxes, expected, rtol=1e-6)
    assert boxes.dtype == np.float32
    ours = keras.ops.convert_to_numpy(
        boxes_from_tokens(keras.ops.convert_to_tensor(tokens), VOCABULARY, xp=keras.ops)
    )
    np.testing.assert_allclose(ours, boxes, rtol=1e-6)


def test_padding_is_undone():
    # An image of 320 x 640 in a square of 640: its lower half is padding.
    boxes = np.float32([[[0.1, 0.2, 0.25, 0.4], [0.4, 0, 0.9, 1]]])
    original = boxes_in_original(
        boxes, image_size=(640, 640), content_size_B2=np.array([[320, 640]])
    )
    np.testing.assert_allclose(original, [[[0.2, 0.2, 0.5, 0.4], [0.8, 0, 1, 1]]], rtol=1e-6)


def test_coco_rows():
    rows = coco_results(
        [42, "a"],
        boxes_BN4=np.float32([[[0.25, 0.1, 0.5, 0.5], [0, 0, 1, 1]]] * 2),
        category_ids_BN=np.array([[3, 0], [9, 3]]),
        scores_BN=np.float32([[0.5, 0.9], [0.75, 0.25]]),
        source_size_B2=np.array([[400, 200], [10, 20]]),
        category_numbers={3: 30, 5: 50},
    )
    assert [row["image_id"] for row in rows] == [42, "a"]
    assert [row["category_id"] for row in rows] == [30, 30]
    np.testing.assert_allclose(rows[0]["bbox"], [20, 100, 80, 100], rtol=1e-6)
    np.testing.assert_allclose(rows[1]["bbox"], [0, 0, 20, 10])
    assert rows[0]["score"] == 0.5


@pytest.mark.parametrize("variant", ["antialias", "plain"])
def test_the_recorded_detections_reach_into_the_padding_and_keep_negative_sizes(variant):
    recorded = reference.arrays("evaluation/evaluation")
    boxes = boxes_from_tokens(recorded["tokens"], VOCABULARY)
    np.testing.assert_allclose(boxes, recorded["boxes"], atol=1e-6)
    where = {
        "image_size": (64, 64),
        "content_size_B2": recorded[f"content_size_{variant}"],
    }
    what = {
        "category_ids_BN": recorded["classes"],
        "scores_BN": recorded["scores"],
        "source_size_B2": recorded["source_size"],
        "category_numbers": {category_id: category_id for category_id in range(1, 900)},
    }
    unclipped, clipped = (
        coco_results(
            range(1, 13), boxes_BN4=boxes_in_original(boxes, **where, clip=clip), **what, clip=clip
        )
        for clip in (False, True)
    )
    for field, name in (("image_id", "image"), ("category_id", "class"), ("score", "score")):
        expected = recorded[f"detection_{name}_{variant}"]
        np.testing.assert_allclose([row[field] for row in unclipped], expected, atol=1e-5)
    expected = recorded[f"detection_bbox_{variant}"]
    found = np.array([row["bbox"] for row in unclipped])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.count_nonzero((found[:, 2:] < 0).any(axis=1)) == 41

    # Clipping is a setting, and can be made up for; it is not the recorded way.
    images = [
        {"id": index + 1, "height": height, "width": width}
        for index, (height, width) in enumerate(recorded["source_size"].tolist())
    ]
    again = clipped_detections(checked_detections(unclipped, allow_negative=True), images)
    boxes = [np.array([row["bbox"] for row in rows]) for rows in (again, clipped)]
    np.testing.assert_allclose(*boxes, atol=1e-3)
    assert np.count_nonzero(np.abs(boxes[1] - expected).max(axis=1) > 0.1) > 70
