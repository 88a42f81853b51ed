"""Each kind of products against numpy, of the same float16 numbers."""

import keras
import numpy as np
import pytest
from keras import ops

from pix2seq_model.network.step_products import HalfProducts, Products, RoundedProducts

HEADS, CHANNELS, LENGTH = 3, 5, 21  # no multiples of the parts
ROWS = 2 * HEADS


def normal(*shape, seed):
    """Numbers that float16 holds exactly."""
    values = np.random.default_rng(seed).normal(size=shape)
    return values.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def layer():
    layer = keras.layers.Dense(7)
    layer.build((None, 20))
    layer.set_weights([normal(20, 7, seed=1), normal(7, seed=2)])
    return layer


def products_of(kind, layer):
    if kind == "float32":
        return Products(stack_layers=True)
    output_DV = normal(20, 9, seed=3)
    if kind == "rounded":
        return RoundedProducts([layer], output_DV)
    return HalfProducts([layer], output_DV, batch_size=1)


@pytest.mark.parametrize("kind", ["float32", "rounded", "half"])
def test_products_are_those_of_numpy(kind, layer):
    products = products_of(kind, layer)
    x_1D = normal(1, 20, seed=4)
    kernel, bias = layer.get_weights()
    dense = ops.convert_to_numpy(products.dense(layer, ops.convert_to_tensor(x_1D)))
    np.testing.assert_allclose(dense, x_1D @ kernel + bias, rtol=1e-4, atol=1e-5)
    output_DV = normal(20, 9, seed=3)
    logits = products.logits(ops.convert_to_tensor(x_1D), ops.convert_to_tensor(output_DV))
    np.testing.assert_allclose(ops.convert_to_numpy(logits), x_1D @ output_DV, rtol=1e-4, atol=1e-5)

    key, value = (normal(2, LENGTH, HEADS, CHANNELS, seed=seed) for seed in (5, 6))
    query_RK, weights_RM = normal(ROWS, CHANNELS, seed=7), normal(ROWS, LENGTH, seed=8)
    with_keys = products.with_keys(
        ops.convert_to_tensor(query_RK), products.store_keys(ops.convert_to_tensor(key))
    )
    key_RMK, value_RMK = (
        array.transpose(0, 2, 1, 3).reshape(ROWS, LENGTH, CHANNELS) for array in (key, value)
    )
    expected = np.einsum("rk,rmk->rm", query_RK, key_RMK)
    np.testing.assert_allclose(ops.convert_to_numpy(with_keys), expected, rtol=1e-4, atol=1e-5)
    with_values = products.with_values(
        ops.convert_to_tensor(weights_RM), products.store_values(ops.convert_to_tensor(value))
    )
    expected = np.einsum("rm,rmk->rk", weights_RM, value_RMK)
    np.testing.assert_allclose(ops.convert_to_numpy(with_values), expected, rtol=1e-4, atol=1e-5)


def test_what_float16_cannot_hold_is_cut_off(layer):
    products = products_of("rounded", layer)
    stored = products.store_keys(ops.full((1, 2, 1, 1), 1e6, dtype="float32"))
    assert np.isfinite(ops.convert_to_numpy(stored)).all()
