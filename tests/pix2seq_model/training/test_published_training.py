"""Fifty steps of the published code, step by step and weight by weight.

The optimizer, its schedule and the training step are those that `train` makes. The published code
decayed every weight when the checkpoints were trained, and kernels alone for a while later.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.training.optimizer import make_optimizer, make_schedule
from pix2seq_model.training.training_step import make_step
from tests.fixtures.published_layout import published_weights
from tests.fixtures.published_training import PublishedTraining

# The first step whose loss the published code itself gave otherwise under a wrong setting.
WRONG = {"weight_decay": (0.0, 2), "beta_2": (0.999, 2), "epsilon": (1e-7, 6), "ahead": (1, 1)}


@pytest.fixture(scope="module")
def training():
    return PublishedTraining("vit")


@pytest.fixture(scope="module")
def step(training):
    """The step by default settings, and what of it can be made wrong without tracing it again."""
    settings = training.settings("every")
    model = training.model(settings)
    optimizer, schedule = model.optimizer, make_schedule(settings)
    variables = {"ahead": tf.Variable(0)}
    for name in ("weight_decay", "beta_2", "epsilon"):
        variables[name] = tf.Variable(getattr(optimizer, name))
        setattr(optimizer, name, variables[name])
    optimizer.learning_rate = lambda: schedule(optimizer.iterations + variables["ahead"])
    return make_step(model), variables


@pytest.fixture(scope="module")
def fifty_steps(training, step):
    return training.take(step[0])


def test_every_loss_norm_and_weight_is_the_published_one(training, fifty_steps):
    assert len(fifty_steps["loss"]) == 50
    assert fifty_steps["moved"].shape == (6, 105)
    assert training.outside("every", fifty_steps) == {}


def test_other_weights_that_decay_are_noticed(training, fifty_steps):
    outside = training.outside("kernel", fifty_steps)
    assert outside == dict.fromkeys(("loss", "gradient_norm", "l2", "mean", "moved"), 2)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_optimizer_is_noticed(training, step, name):
    step, variables = step
    value, first = WRONG[name]
    right = variables[name].numpy()
    variables[name].assign(value)
    found = training.take(step, steps=first + 1)
    variables[name].assign(right)
    assert training.outside("every", found)["loss"] == first


def test_the_schedule_is_the_published_one(training):
    schedule, recorded = make_schedule(training.settings("every")), training.recorded
    ours = [float(schedule(number)) for number in range(50)]
    np.testing.assert_allclose(ours, recorded["learning_rate"], rtol=1e-6)
    late = make_schedule(training.settings("every", warmup_steps=11))
    assert not np.allclose([float(late(number)) for number in range(3)], ours[:3], rtol=1e-6)


def test_kernels_alone_decay_if_all_else_is_excluded(training):
    settings, recorded = training.settings("kernel"), training.recorded
    optimizer = make_optimizer(settings, training.network.trainable_variables)
    decays = {
        "/".join(place[1:]): optimizer._use_weight_decay(weight.value)
        for weight, places, _ in published_weights(training.network)
        for place in places
    }
    ours = [decays[place] for place in recorded["places"]]
    assert ours == recorded["decays_kernel"].tolist()


@pytest.mark.large
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_both_decay_rules_on_both_backends(name, backend):
    """The ViT takes 40 to 60 seconds of a processor, the ResNet minutes: `make test-large`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.published_training", name],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"every": {}, "kernel": {}}
