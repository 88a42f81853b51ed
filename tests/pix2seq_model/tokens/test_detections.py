import keras
import numpy as np

from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original, coco_results
from pix2seq_model.tokens.vocabulary import Vocabulary

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
