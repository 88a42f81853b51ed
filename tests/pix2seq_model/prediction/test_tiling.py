"""Squares cover the image; what is whole in one of them is found once, at its place."""

import itertools

import numpy as np
import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.prediction.detect_images import detect_images
from pix2seq_model.prediction.image_inputs import image_inputs
from pix2seq_model.prediction.tiling import TiledModel, merged, starts


class _Square:
    """Finds each white rectangle that is wholly or partly seen, by its pixels."""

    batch_size, needs_pixels = 4, False
    category_names = {1: "white", 2: "whole image"}  # noqa: RUF012

    def __init__(self):
        self.batches = []

    def prepare_pixels(self, pixels, *, keep_pixels=True):
        return _Prepared(pixels)

    def detect(self, images, *, alone=False):
        self.batches.append(len(images))
        return [_boxes(image.pixels) for image in images]


class _Prepared:
    is_turned = False

    def __init__(self, pixels):
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]


def _boxes(pixels):
    rows = []
    # Each rectangle has a shade of its own.
    for shade in sorted(set(np.unique(pixels)) - {0}):
        ys, xs = (pixels[..., 0] == shade).nonzero()
        box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        rows.append({"category_id": 1, "bbox": [float(v) for v in box], "score": shade / 255})
    return rows


def _found(image, **options):
    model = _Square()
    ((_, _, result),) = detect_images(TiledModel(model, **options), image_inputs(image), score=0.0)
    return model, result


def test_squares_cover_a_side_and_overlap():
    assert starts(640, tile=640, overlap=0.25) == [0]
    assert starts(641, tile=640, overlap=0.25) == [0, 1]
    found = starts(2000, tile=640, overlap=0.25)
    assert (found[0], found[-1] + 640) == (0, 2000)
    assert all(later - first <= 0.75 * 640 for first, later in itertools.pairwise(found))


def test_objects_are_found_once_at_their_place_whatever_squares_cut_them():
    image = np.zeros((300, 500, 3), np.uint8)
    boxes = {250: (10, 20, 30, 25), 240: (90, 90, 20, 20), 230: (480, 280, 20, 20)}
    boxes[220] = (40, 130, 400, 100)  # larger than any square: the whole image shows it
    for shade, (x, y, width, height) in boxes.items():
        image[y : y + height, x : x + width] = shade
    model, result = _found(image, tile=100, overlap=0.5)
    assert result.best_first().to_coco()[0]["bbox"] == list(boxes[250])
    assert sorted(map(tuple, (row["bbox"] for row in result.to_coco()))) == sorted(
        map(tuple, (list(map(float, box)) for box in boxes.values()))
    )
    assert max(model.batches) == 4


def test_an_image_that_fits_is_looked_at_once():
    model, _ = _found(np.zeros((80, 100, 3), np.uint8), tile=100)
    assert model.batches == [1]


def test_one_object_is_two_boxes_of_one_class_that_overlap_by_half():
    rows = [
        {"category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.5},
        {"category_id": 1, "bbox": [1, 1, 10, 10], "score": 0.9},
        {"category_id": 2, "bbox": [0, 0, 10, 10], "score": 0.4},
        {"category_id": 1, "bbox": [0, 0, 3, 3], "score": 0.3},
        {"category_id": 1, "bbox": [2, 2, 0, 0], "score": 0.2},
    ]
    assert [row["score"] for row in merged(rows)] == [0.9, 0.4, 0.3, 0.2]


def test_squares_that_cannot_work():
    with pytest.raises(ConfigError, match="at least 32"):
        TiledModel(_Square(), tile=8)
    with pytest.raises(ConfigError, match="overlap=1"):
        TiledModel(_Square(), tile=64, overlap=1)
