"""AdamW as configured, compared with AdamW written out."""

import keras
import numpy as np
import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.validation import stage_settings
from pix2seq_model.training.optimizer import (
    WarmUpAndDecay,
    make_optimizer,
    make_schedule,
)
from tests.fixtures import reference, tiny_run


def _settings(**settings):
    defaults = {
        "schedule": "constant",
        "warmup_steps": 0,
        "learning_rate": 0.1,
        "weight_decay": 0.5,
        "beta_2": 0.95,
        "batch_size": 12,
    }
    return stage_settings(tiny_run.config(**{**defaults, **settings}), "finetune")


def _variables():
    layer = keras.layers.Dense(1, name="dense")
    layer.build((None, 2))
    layer.kernel.assign([[1.0], [-2.0]])
    layer.bias.assign([3.0])
    return [layer.kernel, layer.bias]


def _adamw(value, gradients, *, rate=0.1, decay=0.5, beta_1=0.9, beta_2=0.95):
    """arXiv:1711.05101, algorithm 2, the decay multiplied by the learning rate."""
    value = np.asarray(value, np.float64)
    m = v = 0.0
    for step, gradient in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        value = value - rate * decay * value
        value = value - rate * (m / (1 - beta_1**step)) / (np.sqrt(v / (1 - beta_2**step)) + 1e-8)
    return value


GRADIENTS = [np.array([[0.3], [0.1]]), np.array([[-0.2], [0.5]]), np.array([[0.1], [0.4]])]


def _apply(optimizer, variables, gradients):
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradient], variables)


def test_three_steps():
    kernel, bias = _variables()
    optimizer = make_optimizer(_settings(), [kernel, bias])
    _apply(optimizer, [kernel, bias], [(g, np.array([0.2])) for g in GRADIENTS])
    np.testing.assert_allclose(kernel.numpy(), _adamw([[1], [-2]], GRADIENTS), rtol=1e-5)
    np.testing.assert_allclose(bias.numpy(), _adamw([3], [0.2] * 3), rtol=1e-5)


def test_excluded_weights_do_not_decay():
    kernel, bias = _variables()
    settings = _settings(weight_decay_exclude=("bias$",))
    optimizer = make_optimizer(settings, [kernel, bias])
    _apply(optimizer, [kernel, bias], [(g, np.array([0.2])) for g in GRADIENTS])
    np.testing.assert_allclose(kernel.numpy(), _adamw([[1], [-2]], GRADIENTS), rtol=1e-5)
    np.testing.assert_allclose(bias.numpy(), _adamw([3], [0.2] * 3, decay=0), rtol=1e-5)


def test_gradients_are_clipped_by_their_common_norm():
    kernel, bias = _variables()
    optimizer = make_optimizer(_settings(clip_norm=1.0), [kernel, bias])
    # Norm 5. Adam hardly sees a scale; its moments show it.
    _apply(optimizer, [kernel, bias], [(np.array([[3.0], [0.0]]), np.array([4.0]))])
    moments = {v.path.rsplit("dense_", 1)[-1]: v.numpy() for v in optimizer.variables}
    assert moments["kernel_momentum"].ravel() == pytest.approx([0.06, 0])
    assert moments["bias_momentum"] == pytest.approx([0.08])


def test_accumulated_batches_make_one_step_of_their_mean():
    kernel, bias = _variables()
    optimizer = make_optimizer(_settings(accumulation_steps=2), [kernel, bias])
    halves = [(gradient + sign, np.array([0.2])) for gradient in GRADIENTS for sign in (1, -1)]
    _apply(optimizer, [kernel, bias], halves)
    # Adam's bias correction counts steps too; if it counted batches, 0.725 would be 0.758.
    np.testing.assert_allclose(kernel.numpy(), _adamw([[1], [-2]], GRADIENTS), rtol=1e-5)


def test_the_optimizer_takes_the_rate_of_its_step():
    kernel, bias = _variables()
    settings = _settings(accumulation_steps=3, steps=4, schedule="linear", end_factor=0.0)
    optimizer = make_optimizer(settings, [kernel, bias])
    rates = []
    for _ in range(2):
        _apply(optimizer, [kernel, bias], [(g, np.array([0.2])) for g in GRADIENTS])
        rates.append(float(optimizer.learning_rate))
    assert rates == pytest.approx([0.075, 0.05])  # of the steps to come: 4 steps down to 0


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_average_moves_by_its_decay_in_a_step(accumulation):
    kernel, bias = _variables()
    settings = _settings(ema_decay=0.8, accumulation_steps=accumulation)
    optimizer = make_optimizer(settings, [kernel, bias])
    values = []
    for gradient in GRADIENTS:
        _apply(optimizer, [kernel, bias], [(gradient, np.array([0.2]))] * accumulation)
        values.append(kernel.numpy())
    # With every batch it goes a part of the way: a step's last part comes with the next batches.
    _apply(optimizer, [kernel, bias], [(GRADIENTS[0], np.array([0.2]))] * (accumulation - 1))
    # The first step's weights start the average.
    expected = 0.8 * (0.8 * values[0] + 0.2 * values[1]) + 0.2 * values[2]
    optimizer.finalize_variable_values([kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-5)


def test_warm_up_and_decay():
    settings = _settings(schedule="linear", warmup_steps=10, steps=110, end_factor=0.01)
    rates = [float(make_schedule(settings)(step)) for step in (0, 5, 10, 60, 110)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.0505, 0.001])


def test_the_rate_stays_for_the_batches_of_a_step():
    settings = _settings(schedule="linear", steps=4, end_factor=0.0, accumulation_steps=2)
    rates = [float(make_schedule(settings)(batch)) for batch in range(8)]
    assert rates == pytest.approx([0.1, 0.1, 0.075, 0.075, 0.05, 0.05, 0.025, 0.025])


PUBLISHED = {
    "linear": {"schedule": "linear", "end_factor": 0.01},
    "cosine": {"schedule": "cosine", "end_factor": 0.01},
    "none": {"schedule": "constant"},
    "cosine@0.8": {"schedule": "cosine", "end_factor": 0.01, "cosine_fraction": 0.8},
    "exp@0.1": {"schedule": "exponential", "end_factor": 0.1},
    "linear_scaled_by_batch32_tail20": {
        "schedule": "linear",
        "end_factor": 0.01,
        "tail_steps": 20,
        "base_rate": 1e-3 * 32 / 256,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_schedules(name):
    recorded = reference.arrays("ops/learning_rate")
    rate = WarmUpAndDecay(
        **{"base_rate": 1e-3, **PUBLISHED[name]}, total_steps=100, warmup_steps=10
    )
    ours = [float(rate(step)) for step in recorded["steps"]]
    np.testing.assert_allclose(ours, recorded[name], atol=1e-9)


def test_warm_up_and_end_of_a_schedule():
    rate = WarmUpAndDecay(1.0, "linear", warmup_steps=4, total_steps=8, end_factor=0.5)
    ours = [float(rate(step)) for step in range(10)]
    np.testing.assert_allclose(
        ours, [0, 0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.5], rtol=1e-6
    )


def test_no_warm_up_starts_at_the_base_rate():
    rate = WarmUpAndDecay(1.0, "cosine", total_steps=8)
    assert float(rate(0)) == 1.0
    assert float(rate(8)) == pytest.approx(0, abs=1e-7)


def test_keras_can_save_it():
    rate = WarmUpAndDecay(0.1, "cosine", total_steps=9, warmup_steps=2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert float(copy(5)) == float(rate(5))


@pytest.mark.parametrize(
    ("schedule", "warmup", "message"), [("steps", 1, "steps"), ("linear", 9, "warmup_steps=9")]
)
def test_refusals(schedule, warmup, message):
    with pytest.raises(ConfigError, match=message):
        WarmUpAndDecay(0.1, schedule, total_steps=8, warmup_steps=warmup)
