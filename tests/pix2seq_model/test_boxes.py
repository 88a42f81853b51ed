import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model import boxes

coordinate = st.integers(0, 1024).map(lambda n: n / 1024)
box_lists = st.lists(st.tuples(*[coordinate] * 4), min_size=1, max_size=5).map(
    lambda rows: np.array(rows, np.float32)
)

BOXES = np.array([[0.0, 0.25, 0.5, 0.75], [0.5, 0.5, 0.5, 1.0], [0.5, 0.5, 0.25, 0.25]], np.float32)


def test_area_and_validity():
    np.testing.assert_array_equal(boxes.box_yxyx_area(BOXES), [0.25, 0.0, 0.0625])
    np.testing.assert_array_equal(boxes.box_yxyx_is_valid(BOXES), [True, False, False])


def test_cocos_format():
    np.testing.assert_array_equal(
        boxes.box_yxyx_to_xywh(BOXES),
        [[0.25, 0.0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.0], [0.5, 0.5, -0.25, -0.25]],
    )


@given(box_lists)
def test_cocos_format_and_back(some_boxes):
    xywh = boxes.box_yxyx_to_xywh(some_boxes)
    np.testing.assert_array_equal(boxes.box_xyxy_to_xywh(some_boxes[..., [1, 0, 3, 2]]), xywh)
    back = boxes.box_xywh_to_yxyx(xywh)
    np.testing.assert_array_equal(back, some_boxes)


def test_clip():
    np.testing.assert_array_equal(
        boxes.clip_box_yxyx(np.array([-0.5, 0.25, 1.5, 1.0])), [0.0, 0.25, 1.0, 1.0]
    )


def test_flip():
    np.testing.assert_array_equal(
        boxes.flip_box_yxyx_left_right(np.array([0.0, 0.25, 0.5, 1.0])), [0.0, 0.0, 0.5, 0.75]
    )


@given(box_lists)
def test_flipping_twice_changes_nothing(some_boxes):
    flipped = boxes.flip_box_yxyx_left_right(some_boxes)
    np.testing.assert_array_equal(boxes.flip_box_yxyx_left_right(flipped), some_boxes)


def test_move_to_window():
    moved = boxes.move_box_yxyx_to_window(
        np.array([[30.0, 20.0, 50.0, 60.0]]), offset=np.array([10, 20]), size=np.array([40, 80])
    )
    np.testing.assert_array_equal(moved, [[0.5, 0.0, 1.0, 0.5]])


@given(box_lists, st.integers(1, 8), st.integers(1, 8))
def test_a_window_at_the_origin_undoes_scaling(some_boxes, vertical, horizontal):
    scale = np.array([vertical, horizontal], np.float32)
    scaled = boxes.scale_box_yxyx(some_boxes, scale)
    back = boxes.move_box_yxyx_to_window(scaled, offset=np.zeros(2, np.float32), size=scale)
    np.testing.assert_allclose(back, some_boxes, rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda b, xp: boxes.box_yxyx_is_valid(b, xp=xp),
        lambda b, xp: boxes.clip_box_yxyx(b * 2 - 0.5, xp=xp),
        lambda b, xp: boxes.flip_box_yxyx_left_right(b, xp=xp),
        lambda b, xp: boxes.flip_box_yxyx_up_down(b, xp=xp),
        lambda b, xp: boxes.turn_box_yxyx(b, 3, xp=xp),
        lambda b, xp: boxes.scale_box_yxyx(b, xp.stack([0.5, 0.25]), xp=xp),
    ],
)
def test_tensorflow_and_numpy_agree(function):
    np.testing.assert_array_equal(
        function(tf.constant(BOXES), tf).numpy(), function(BOXES, np).astype(np.float32)
    )
