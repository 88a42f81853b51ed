"""A batch that is not finite is counted and changes nothing else."""

import dataclasses

import numpy as np
import pytest

from pix2seq_model.experiment import validation as experiment
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.checkpoint import take_state
from tests.fixtures import tiny_run
from tests.pix2seq_model.training.one_step import VOCABULARY, Table, batch, make, train


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_batch_that_is_not_finite_changes_nothing_but_the_count(bad):
    logits = np.float32(np.random.default_rng(3).normal(size=(1, 3, 160)))
    good = batch([[107, 120, 130]], [[1, 1, 1]])
    poisoned = batch([[107, 120, 130]], [[1, 1, 1]], image=bad)
    with_bad, without = make(Table(logits)), make(Table(logits))
    train(with_bad, [good, poisoned])
    train(without, [good])
    count = with_bad.model.count
    assert int(count.skipped.value) == 1
    assert count.skipped_batches.numpy()[:2].tolist() == [1, -1]
    before, after = (take_state(step.model, step=0).groups for step in (without, with_bad))
    assert np.array_equal(with_bad.model.network.table, without.model.network.table)
    # Of the optimizer only the number of batches differs.
    assert [int(g["optimizer"][0]) for g in (before, after)] == [1, 2]
    for a, b in zip(before["optimizer"][1:], after["optimizer"][1:], strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(before["metrics"], after["metrics"], strict=True):
        assert np.array_equal(a, b)
    assert np.isfinite(train(with_bad, [good])["loss"])


def test_batch_statistics_survive_a_badbatch():
    config = tiny_run.config()
    small = dataclasses.replace(
        experiment.model_config(config, "finetune"),
        backbone="resnet",
        image_size=(32, 32),
        resnet_width_multiplier=0.0625,
    )
    network = build_model(small, VOCABULARY, seed=0)
    step = make(network)
    tokens = np.full((2, 5), 120, np.int32)
    image = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    bad_image = image.copy()
    bad_image[1, 3, 3, 0] = np.nan
    weights = np.ones((2, 5), np.float32)
    inputs = {"image": image, "tokens": tokens}
    train(step, [(inputs, tokens, weights)])
    before = [v.numpy() for v in network.weights]
    train(step, [({"image": bad_image, "tokens": tokens}, tokens, weights)])
    assert int(step.model.count.skipped.value) == 1
    for old, new in zip(before, network.weights, strict=True):
        assert np.array_equal(old, new.numpy()), new.path
