"""The loss, its parts in the log, and label smoothing."""

import keras
import numpy as np
import pytest

from pix2seq_model.training.loss import token_losses
from tests.pix2seq_model.training.one_step import Table, batch, make, train


def test_the_parts_of_the_loss():
    random = np.random.default_rng(0)
    logits = np.float32(random.normal(size=(1, 6, 160)))
    # Two coordinates, a class, the noise class with a coordinate that counts nothing, padding.
    targets, weights = [[120, 151, 107, 130, 30, 0]], [[1, 1, 1, 0, 1, 0.1]]
    logits[0, 1, 151] = 9.0  # the one token that is guessed
    step = make(Table(logits))
    got = train(step, [batch(targets, weights)])
    log = np.log(np.exp(logits[0].astype(np.float64)).sum(-1))
    losses = log - logits[0, np.arange(6), targets[0]]
    assert got["loss"] == pytest.approx((losses * weights[0]).sum() / 4.1, rel=1e-5)
    assert got["loss_coordinates"] == pytest.approx(losses[:2].mean(), rel=1e-5)
    assert got["loss_classes"] == pytest.approx(losses[2], rel=1e-5)
    assert got["loss_noise"] == pytest.approx(losses[4], rel=1e-5)
    assert got["token_accuracy"] == pytest.approx(1 / 3)
    assert got["gradient_norm"] > 0


def test_parts_that_a_batch_lacks_do_not_enter_their_mean():
    logits = np.zeros((1, 1, 160), np.float32)
    logits[0, 0, 107] = 2.0
    step = make(Table(logits), learning_rate=1e-12)
    got = train(step, [batch([[107]], [[1]]), batch([[120]], [[1]]), batch([[0]], [[0.1]])])
    norm = np.log(159 + np.e**2)
    assert got["loss_classes"] == pytest.approx(norm - 2, rel=1e-4)
    assert got["loss_coordinates"] == pytest.approx(norm, rel=1e-4)
    assert got["loss_noise"] == 0


def test_it_is_keras_weighted_mean():
    random = np.random.default_rng(1)
    logits = np.float32(random.normal(size=(2, 5, 160)))
    targets = random.integers(0, 160, (2, 5)).astype(np.int32)
    weights = np.float32(random.uniform(size=(2, 5)))
    step = make(Table(logits))
    got = train(step, [batch(targets, weights)])
    expected = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )(targets, logits, weights)
    assert got["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_label_smoothing():
    random = np.random.default_rng(2)
    logits = np.float32(random.normal(size=(2, 3, 7)))
    targets = np.int32([[0, 1, 2], [3, 4, 6]])
    smooth = 0.9 * np.eye(7)[targets] + 0.1 / 7
    expected = keras.losses.categorical_crossentropy(smooth, logits, from_logits=True)
    got = token_losses(targets, logits, label_smoothing=0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
