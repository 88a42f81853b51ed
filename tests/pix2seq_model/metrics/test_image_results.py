"""How each image went."""

import numpy as np

from pix2seq_model.metrics.image_results import count_by_image, image_results
from tests.pix2seq_model.metrics.test_analysis import BOX, OTHER, analysed


def test_how_each_image_went():
    results = image_results(
        analysed(
            [(1, 1, BOX, 0), (1, 1, OTHER, 0), (2, 1, BOX, 1)],
            [(1, 1, BOX, 0.9), (1, 2, BOX, 0.8), (2, 1, BOX, 0.7), (3, 1, BOX, 0.2)],
        ),
        threshold=0.5,
    )
    assert [(r.image_id, r.num_objects, r.num_found, r.num_false) for r in results] == [
        (1, 2, 1, 1),
        (2, 0, 0, 0),
        (3, 0, 0, 0),
    ]
    assert [r.f1 for r in results] == [0.5, 1.0, 1.0]


def test_images_are_counted_in_their_order():
    analysis = analysed([], [])
    assert count_by_image(analysis, np.array([3, 1, 3])).tolist() == [1, 0, 2]
    assert count_by_image(analysis, np.array([], int)).tolist() == [0, 0, 0]
