"""Layers alone: whole sequences and one token after another give the same."""

import random

import numpy as np
import pytest
from keras import ops

from pix2seq_model.network.step_products import Products
from pix2seq_model.network.transformer import MASKED, DecoderLayer, EncoderLayer, LayerSettings

SETTINGS = LayerSettings(
    dim=18,
    mlp_dim=36,
    num_heads=4,
    attention_initializer="glorot",
    drop_path=0.0,
    drop_units=0.0,
    drop_attention=0.5,
)
LENGTH = 5


@pytest.fixture(scope="module")
def layer():
    layer = DecoderLayer(SETTINGS, seeds=random.Random(1), name="layer")
    layer.build((None, None, SETTINGS.dim))
    return layer


def normal(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_steps_with_a_kv_cache_are_the_whole_sequence(layer):
    x_BLD, encoded_BMD = normal(2, LENGTH, 18, seed=1), normal(2, 3, 18, seed=2)
    whole = ops.convert_to_numpy(layer(x_BLD, encoded_BMD))
    products = Products()
    kv_cache = products.empty_kv_cache(1, rows=8, channels=4, length=LENGTH, dtype="float32")
    cross_kv_cache = layer.cross_attention.cross_kv_cache(ops.convert_to_tensor(encoded_BMD))
    for index in range(LENGTH):
        mask_T = np.where(np.arange(LENGTH) < index, 0, MASKED).astype(np.float32)
        step, own = layer.step(
            ops.convert_to_tensor(x_BLD[:, index]),
            kv_cache[0],
            cross_kv_cache,
            attention_mask_T=mask_T,
        )
        kv_cache = products.write(kv_cache, ops.convert_to_tensor(index, "int32"), [own])
        np.testing.assert_allclose(ops.convert_to_numpy(step), whole[:, index], atol=1e-5)


def test_reading_the_attention_changes_nothing(layer):
    x_BLD, encoded_BMD = normal(2, LENGTH, 18, seed=1), normal(2, 3, 18, seed=2)
    seen, weights_BHLM = layer.call_with_attention(x_BLD, encoded_BMD)
    np.testing.assert_allclose(
        ops.convert_to_numpy(seen), ops.convert_to_numpy(layer(x_BLD, encoded_BMD)), atol=1e-5
    )
    assert tuple(weights_BHLM.shape) == (2, 4, LENGTH, 3)


def test_attention_with_dropout_is_causal_too(layer):
    first = normal(1, LENGTH, 18, seed=3)
    second = np.concatenate([first[:, :3], normal(1, 2, 18, seed=4)], axis=1)
    attention = layer.self_attention
    state = [ops.convert_to_numpy(v) for v in attention.non_trainable_variables]
    found = []
    for x_BLD in (first, second):
        for variable, value in zip(attention.non_trainable_variables, state, strict=True):
            variable.assign(value)  # the same weights are dropped
        found.append(ops.convert_to_numpy(attention(x_BLD, causal=True, training=True)))
    np.testing.assert_allclose(found[0][:, :3], found[1][:, :3], atol=1e-5)
    assert np.abs(found[0][:, 3:] - found[1][:, 3:]).max() > 1e-3
    exact = ops.convert_to_numpy(attention(first, causal=True))
    assert np.abs(found[0] - exact).max() > 1e-3


def test_an_encoder_layer_sees_the_whole_sequence():
    layer = EncoderLayer(SETTINGS, seeds=random.Random(1), name="layer")
    layer.build((None, None, SETTINGS.dim))
    first = normal(1, LENGTH, 18, seed=3)
    second = np.concatenate([first[:, :-1], normal(1, 1, 18, seed=4)], axis=1)
    difference = ops.convert_to_numpy(layer(first)) - ops.convert_to_numpy(layer(second))
    assert (np.abs(difference).max(axis=-1) > 1e-4).all()
