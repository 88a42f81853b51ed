import numpy as np
import tensorflow as tf

from pix2seq_model.tokens.noise_objects import (
    DRAWS_PER_OBJECT,
    NOISE_LABEL,
    append_noise_objects,
    truncated_normal,
)

REAL = np.array([[0.1, 0.2, 0.3, 0.6], [0.5, 0.5, 0.75, 0.7]], np.float32)


def with_noise(num_real, num_slots, *, batch=1, std=0.05, seed=0):
    boxes = np.zeros((batch, num_slots, 4), np.float32)
    labels = np.zeros((batch, num_slots), np.int32)
    boxes[:, :num_real], labels[:, :num_real] = REAL[:num_real], 7
    draws = tf.random.stateless_uniform([batch, num_slots, DRAWS_PER_OBJECT], seed=[seed, 1])
    boxes, labels = append_noise_objects(
        tf.constant(boxes),
        tf.constant(labels),
        draws_B=tf.random.stateless_uniform([batch], seed=[seed, 2]),
        draws_BND=draws,
        near_duplicate_std=std,
    )
    return boxes.numpy(), labels.numpy()


def near_duplicates(boxes, real):
    """With a standard deviation of 0 a near-duplicate is its real box."""
    return (boxes[:, :, np.newaxis] == real).all(-1).any(-1)


def test_noise_fills_the_free_slots_and_leaves_real_objects_alone():
    boxes, labels = with_noise(2, 10, batch=5)
    assert (labels[:, :2] == 7).all()
    assert (labels[:, 2:] == NOISE_LABEL).all()
    np.testing.assert_array_equal(boxes[:, :2], np.broadcast_to(REAL, (5, 2, 4)))
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert (boxes[..., 2:] >= boxes[..., :2]).all()


def test_a_full_sequence_gets_no_noise():
    boxes, labels = with_noise(2, 2)
    assert (labels == 7).all()
    np.testing.assert_array_equal(boxes[0], REAL)


def test_the_number_of_near_duplicates_is_uniform():
    free = 4
    boxes, _ = with_noise(2, 2 + free, batch=20_000, std=0.0)
    counts = near_duplicates(boxes[:, 2:], REAL).sum(axis=1)
    shares = np.bincount(counts, minlength=free + 1) / len(counts)
    np.testing.assert_allclose(shares, 1 / (free + 1), atol=0.015)


def test_near_duplicates_take_every_place_equally_often():
    boxes, _ = with_noise(2, 10, batch=10_000, std=0.0)
    shares = near_duplicates(boxes[:, 2:], REAL).mean(axis=0)
    np.testing.assert_allclose(shares, 0.5, atol=0.02)


def test_near_duplicates_move_by_a_share_of_their_own_size():
    std = 0.05
    boxes, _ = with_noise(1, 200, batch=20, std=std)
    height, width = REAL[0, 2] - REAL[0, 0], REAL[0, 3] - REAL[0, 1]
    moves = (boxes[:, 1:] - REAL[0]) / [height, width, height, width]
    close = (np.abs(moves) <= 2 * std + 1e-5).all(-1)
    assert 0.3 < close.mean() < 0.7
    # A normal distribution cut at two deviations has 0.8796 of its deviation left.
    np.testing.assert_allclose(moves[close].std(axis=0), 0.8796 * std, rtol=0.06)


def test_half_of_the_bad_boxes_have_a_real_size():
    boxes, _ = with_noise(1, 100, batch=400, std=0.0)
    noise = boxes[:, 1:].reshape(-1, 4)
    is_bad = ~near_duplicates(noise[np.newaxis], REAL[:1])[0]
    inside = (noise > 0).all(-1) & (noise < 1).all(-1)
    sizes = noise[:, 2:] - noise[:, :2]
    real_size = np.isclose(sizes, REAL[0, 2:] - REAL[0, :2], atol=1e-5).all(-1)
    # Clipping hides some; a shifted box of this size lies inside with probability 0.8 * 0.6.
    assert np.isclose((real_size & inside & is_bad).sum() / is_bad.sum(), 0.5 * 0.48, atol=0.02)


def test_an_image_without_objects_gets_random_boxes_alone():
    boxes, labels = with_noise(0, 50, batch=200, std=0.0)
    assert (labels == NOISE_LABEL).all()
    areas = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    assert (areas > 0).mean() > 0.99
    assert areas.std() > 0.05


def test_truncated_normal():
    values = truncated_normal(tf.random.stateless_uniform([100_000], seed=[1, 2])).numpy()
    assert np.abs(values).max() <= 2.0001
    np.testing.assert_allclose([values.mean(), values.std()], [0.0, 0.8796], atol=0.01)
    np.testing.assert_allclose(truncated_normal(tf.constant([0.0, 0.5])), [-2, 0], atol=1e-5)
