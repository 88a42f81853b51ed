"""XLA on TensorFlow does not take the activations of the forward pass for those computed again."""

import random
import re
from unittest import mock

import keras
import pytest
import tensorflow as tf

from pix2seq_model.network.checkpointing import LAYERS, NONE, PRODUCTS
from pix2seq_model.network.remat import run_layer
from pix2seq_model.network.transformer import EncoderLayer, LayerSettings
from tests.fixtures import network_parts

_SETTINGS = LayerSettings(
    dim=16,
    mlp_dim=32,
    num_heads=2,
    attention_initializer="glorot",
    drop_path=0.0,
    drop_units=0.2,
    drop_attention=0.0,
)


def _products(way: str) -> int:
    """How many products the compiled gradient of an encoder layer has."""
    layer = EncoderLayer(_SETTINGS, seeds=random.Random(1), name="layer")
    layer.build((None, None, 16))
    variables = [*layer.trainable_variables, *layer.non_trainable_variables]
    values = [tf.convert_to_tensor(v.value) for v in variables]

    @tf.function(jit_compile=True, autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            with keras.StatelessScope(state_mapping=[*zip(variables, values, strict=True)]):
                result = run_layer(layer, x, training=True, recompute=way)
            total = tf.reduce_sum(tf.square(result))
        return tape.gradient(total, x)

    x = tf.convert_to_tensor(network_parts.normal(2, 5, 16))
    compiled = gradient.experimental_get_compiler_ir(x)(stage="optimized_hlo")
    return len(re.findall(r" (?:dot|custom-call)\(", compiled))


def test_products_are_computed_again_after_the_forward_pass():
    plain, products, layers = map(_products, (NONE, PRODUCTS, LAYERS))
    # Query, key and value, the logits, their use, and the MLP's first again. The output's and the
    # MLP's second are needed by nothing that is computed again.
    assert layers - plain >= 4
    # Of these the ones with weights are kept.
    assert 0 < products - plain <= 2


@pytest.mark.large
def test_without_a_dependence_xla_takes_what_it_has():
    with mock.patch("pix2seq_model.network.remat._once_there", lambda _, tensors: tensors):
        assert _products(LAYERS) == _products(NONE)
