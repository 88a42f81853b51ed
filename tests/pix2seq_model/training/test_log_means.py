"""The running means of the log, against sums by hand."""

import keras
import pytest

from pix2seq_model.training.log_means import NAMES, LogMeans


def _add(log, parts, finite=True):
    values = [variable.value for variable in log.variables]
    for variable, value in zip(log.variables, log.added(values, parts, finite), strict=True):
        variable.assign(value)


def _parts(value, weight):
    value, weight = (keras.ops.convert_to_tensor(x, "float32") for x in (value, weight))
    return dict.fromkeys(NAMES, (value, weight))


def test_means_are_weighted():
    log = LogMeans()
    _add(log, _parts(2.0, 1.0))
    _add(log, {**_parts(5.0, 3.0), "loss_noise": _parts(9.0, 0.0)["loss"]})
    means = log.read()
    assert tuple(means) == NAMES
    assert means["loss"] == pytest.approx(17 / 4)
    assert means["loss_noise"] == 2.0


def test_nothing_added_is_zero_and_a_batch_that_is_not_finite_adds_nothing():
    log = LogMeans()
    assert set(log.read().values()) == {0.0}
    _add(log, _parts(2.0, 1.0))
    _add(log, _parts(float("nan"), 1.0), finite=False)
    assert log.read()["loss"] == 2.0
    log.reset()
    assert log.read()["loss"] == 0.0
