"""Training examples as pictures: boxes where the tokens say."""

import numpy as np

from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training import pictures as training_pictures

VOCABULARY = Vocabulary(vocab_size=221, num_bins=101, coord_shift=120)


def _drawn(monkeypatch, targets):
    calls = []

    def draw_boxes(image, boxes, *, longer_side):
        calls.append((image.size, boxes))
        return image

    monkeypatch.setattr(training_pictures, "draw_boxes", draw_boxes)
    training_pictures.training_pictures(
        np.zeros((len(targets), 50, 80, 3), np.float32),
        np.int32(targets),
        vocabulary=VOCABULARY,
        names={7: "bar"},
    )
    return calls


def test_boxes_are_in_pixels_and_noise_lies_below(monkeypatch):
    # ymin 0.1, xmin 0.2, ymax 0.5, xmax 0.7 of class 7; a noise object; padding.
    real, noise = [130, 140, 170, 190, 107], [120, 120, 220, 220, 30]
    ((size, boxes),) = _drawn(monkeypatch, [real + noise + [0] * 5])
    assert size == (80, 50)
    assert [box.text for box in boxes] == ["", "bar"]
    assert [box.dashed for box in boxes] == [True, False]
    np.testing.assert_allclose(boxes[0].box, (0, 0, 80, 50), atol=1e-4)
    np.testing.assert_allclose(boxes[1].box, (16, 5, 40, 20), atol=1e-4)


def test_a_sheet_of_real_pictures():
    images = np.full((3, 50, 80, 3), 0.5, np.float32)
    targets = np.int32([[130, 140, 170, 190, 107]] * 3)
    sheet = training_pictures.training_pictures(
        images, targets, vocabulary=VOCABULARY, names={7: "bar"}
    )
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > 640
    # The boxes' colour is somewhere on it.
    assert (sheet.astype(int).max(-1) - sheet.astype(int).min(-1) > 100).any()
