"""Our AdamW next to Keras' own: the same digits from a smaller program."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.training.adamw import AdamW
from pix2seq_model.training.optimizer import WarmUpAndDecay

SHAPES = ((3, 4), (4,), (4, 2))
ALL_THERE_IS = {
    "use_ema": True,
    "ema_momentum": 0.9,
    "gradient_accumulation_steps": 2,
    "global_clipnorm": 1.0,
}


def _made(kind, shapes=SHAPES, **settings):
    variables = [
        keras.Variable(np.random.default_rng(number).normal(size=shape), dtype="float32")
        for number, shape in enumerate(shapes)
    ]
    schedule = WarmUpAndDecay(0.01, "cosine", total_steps=9, warmup_steps=3)
    optimizer = kind(schedule, weight_decay=0.05, beta_2=0.95, epsilon=1e-8, **settings)
    optimizer.exclude_from_weight_decay(var_list=variables[1:2])
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(gradients):
        optimizer.apply(gradients)

    return optimizer, variables, step


def _gradients(random, shapes=SHAPES):
    return [tf.constant(random.normal(size=shape), tf.float32) for shape in shapes]


@pytest.mark.parametrize("settings", [{}, ALL_THERE_IS])
def test_weights_and_moments_are_those_of_keras_to_the_digit(settings):
    found = []
    for kind in (AdamW, keras.optimizers.AdamW):
        random = np.random.default_rng(7)
        optimizer, variables, step = _made(kind, **settings)
        for _ in range(6):
            step(_gradients(random))
        found.append([np.array(value) for value in (*variables, *optimizer.variables)])
    for ours, keras_own in zip(*found, strict=True):
        assert ours.tobytes() == keras_own.tobytes()


def _size(kind, shapes):
    _, _, step = _made(kind, shapes)
    gradients = _gradients(np.random.default_rng(7), shapes)
    return len(step.get_concrete_function(gradients).graph.get_operations())


def test_a_further_weight_adds_less_to_the_program_than_with_keras():
    ours, keras_own = (
        _size(kind, (*SHAPES, (5,))) - _size(kind, SHAPES)
        for kind in (AdamW, keras.optimizers.AdamW)
    )
    assert 0 < ours < 0.6 * keras_own
