"""Turns by 90 degrees and flips upside down, for images that have no up: aerial, microscope."""

from typing import NamedTuple

import tensorflow as tf

from pix2seq_model.boxes import flip_box_yxyx_up_down, turn_box_yxyx
from pix2seq_model.input_pipeline.settings import Augmentation

# Uniform random numbers that `choose_orientation` takes: turns, upside down.
NUM_DRAWS = 2


class Orientation(NamedTuple):
    """How an image is turned after all else that moves its pixels.

    Attributes:
      turns: int32 (...), times 90 degrees counter-clockwise, 0 to 3.
      upside_down: bool (...), mirrored top to bottom before that.
    """

    turns: tf.Tensor
    upside_down: tf.Tensor


def choose_orientation(draws: tf.Tensor, *, augmentation: Augmentation) -> Orientation:
    """Chooses the orientation of an image, or of several.

    Args:
      draws: float32 uniform in [0, 1), (..., NUM_DRAWS).
      augmentation: settings.
    """
    turns = tf.zeros_like(draws[..., 0], tf.int32)
    upside_down = tf.zeros_like(draws[..., 1], tf.bool)
    if augmentation.turn:
        turns = tf.minimum(tf.cast(draws[..., 0] * 4.0, tf.int32), 3)
    if augmentation.flip_vertical:
        upside_down = draws[..., 1] < 0.5
    return Orientation(turns, upside_down)


def turned_size(size: tf.Tensor, orientation: Orientation) -> tf.Tensor:
    """Height and width (..., 2) of an image of a size (..., 2) once it is turned, or before."""
    is_odd = (orientation.turns % 2 == 1)[..., tf.newaxis]
    return tf.where(is_odd, tf.reverse(size, [-1]), size)


def orient_image(image: tf.Tensor, orientation: Orientation) -> tf.Tensor:
    """Turns one image, (height, width, 3)."""
    flip_axes = tf.zeros([tf.cast(orientation.upside_down, tf.int32)], tf.int32)
    return tf.image.rot90(tf.reverse(image, flip_axes), orientation.turns)


def orient_boxes(boxes_BM4: tf.Tensor, orientation_B: Orientation) -> tf.Tensor:
    """Moves boxes along with their image.

    Args:
      boxes_BM4: yxyx, normalised to the image before; stays so to the image after.
      orientation_B: orientations with one leading axis.
    """
    upside_down_B11 = orientation_B.upside_down[:, tf.newaxis, tf.newaxis]
    boxes_BM4 = tf.where(upside_down_B11, flip_box_yxyx_up_down(boxes_BM4, xp=tf), boxes_BM4)
    turned_BM4 = boxes_BM4
    for turns in (1, 2, 3):
        is_so_B11 = (orientation_B.turns == turns)[:, tf.newaxis, tf.newaxis]
        turned_BM4 = tf.where(is_so_B11, turn_box_yxyx(boxes_BM4, turns, xp=tf), turned_BM4)
    return turned_BM4
