"""A batch that is not finite is counted and changes nothing else."""

import numpy as np
import pytest

from pix2seq_model.training.checkpoint import take_state
from tests.pix2seq_model.training.one_step import Table, batch, make, train


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
