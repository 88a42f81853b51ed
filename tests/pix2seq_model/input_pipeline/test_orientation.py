"""Boxes stay on their objects, however the image is turned."""

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.input_pipeline.orientation import (
    Orientation,
    choose_orientation,
    orient_boxes,
    orient_image,
    turned_size,
)
from pix2seq_model.input_pipeline.settings import Augmentation


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("upside_down", [False, True])
def test_boxes_follow_exactly(turns, upside_down):
    height, width = 20, 30
    top, left, bottom, right = 3, 7, 9, 20
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    chosen = Orientation(tf.constant(turns), tf.constant(upside_down))
    turned = orient_image(tf.constant(image), chosen).numpy()
    assert turned.shape[:2] == tuple(turned_size(tf.constant([height, width]), chosen).numpy())

    box = tf.constant([[[top / height, left / width, bottom / height, right / width]]])
    batch = Orientation(*(part[tf.newaxis] for part in chosen))
    edges = orient_boxes(box, batch)[0, 0].numpy() * [*turned.shape[:2], *turned.shape[:2]]
    rows, columns = np.nonzero(turned[..., 0])
    expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    np.testing.assert_allclose(edges, expected, atol=1e-4)


def test_what_is_off_is_never_chosen_and_what_is_on_as_often():
    draws = tf.random.stateless_uniform([2000, 2], seed=[1, 2])

    def chosen(**settings):
        turns, upside_down = choose_orientation(draws, augmentation=Augmentation(**settings))
        return np.bincount(turns, minlength=4) / 2000, upside_down.numpy().mean()

    turns, upside_down = chosen()
    assert (turns.tolist(), upside_down) == ([1, 0, 0, 0], 0)
    turns, upside_down = chosen(turn=True, flip_vertical=True)
    np.testing.assert_allclose(turns, 0.25, atol=0.04)
    np.testing.assert_allclose(upside_down, 0.5, atol=0.04)
