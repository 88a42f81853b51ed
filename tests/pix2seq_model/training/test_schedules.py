import keras
import numpy as np
import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.training.schedules import (
    WarmUpAndDecay,
    learning_rate_schedule,
    scaled_learning_rate,
)
from tests.fixtures import reference

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
        "base_rate": scaled_learning_rate(1e-3, batch_size=32, rule="linear"),
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


def test_warm_up_and_end():
    rate = learning_rate_schedule("linear", base=1.0, warmup_steps=4, total_steps=8, end_factor=0.5)
    ours = [float(rate(step)) for step in range(10)]
    np.testing.assert_allclose(
        ours, [0, 0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.5], rtol=1e-6
    )


def test_no_warm_up_starts_at_the_base_rate():
    rate = learning_rate_schedule("cosine", base=1.0, warmup_steps=0, total_steps=8)
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
