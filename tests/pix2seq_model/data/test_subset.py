"""Choosing a few images of a COCO annotation file."""

import pytest

from pix2seq_model.data.subset import choose_images
from pix2seq_model.errors import DataError

ANNOTATIONS = {
    "images": [{"id": n} for n in (5, 6, 7, 8)],
    "categories": [{"id": 1, "name": "kite"}],
    "annotations": [
        {"id": 1, "image_id": 6, "iscrowd": 0},
        {"id": 2, "image_id": 7, "iscrowd": 0},
        {"id": 3, "image_id": 7, "iscrowd": 1},
        {"id": 4, "image_id": 8},
        {"id": 5, "image_id": 8},
    ],
}


def test_images_without_objects_and_with_crowds_are_passed_over():
    few = choose_images(ANNOTATIONS, num_images=2, max_objects=2, source="labels.json")
    assert [image["id"] for image in few["images"]] == [6, 8]
    assert [row["id"] for row in few["annotations"]] == [1, 4, 5]
    assert few["categories"] == ANNOTATIONS["categories"]


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match=r"labels.json: 1 images hold.*--max_objects"):
        choose_images(ANNOTATIONS, num_images=2, max_objects=1, source="labels.json")
