"""Dropout that draws 16 random bits an element, where Keras draws 32 for a number from 0 to 1.

An element is dropped if its bits, as a number, are below rate * 2**16 rounded: the rate is exact to
1e-5, and what is left is scaled by exactly the share that is left.

On JAX a hash gives two words of 32 bits, of which JAX' own generator makes one number: here they
serve four elements, for a quarter of the arithmetic. On TensorFlow a word serves two.
"""

import math
from typing import Any

import keras
from keras import ops

_VALUES = 2**16


class Dropout(keras.layers.Dropout):
    """See the module."""

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        shape = [
            size if given is None else given
            for given, size in zip(self._noise_shape(inputs), ops.shape(inputs), strict=True)
        ]
        scaled = inputs * ops.cast(self.scale, inputs.dtype)
        return ops.where(self.draw_kept(shape), scaled, ops.zeros((), inputs.dtype))

    def draw_kept(self, shape: Any) -> Any:
        """What stays of an array of a shape, bool; draws again with each call."""
        return random_bits(self.seed_generator.next(), [*shape]) >= self._dropped

    @property
    def scale(self) -> float:
        """What is multiplied with what stays."""
        return _VALUES / (_VALUES - self._dropped)

    @property
    def _dropped(self) -> int:
        return round(self.rate * _VALUES)

    def _noise_shape(self, inputs):
        return self.noise_shape or (None,) * len(inputs.shape)


def random_bits(seed: Any, shape: list) -> Any:
    """Random uint16 numbers.

    Args:
      seed: of Keras' SeedGenerator, two numbers.
      shape: its last size must be known.
    """
    draw = bits_on_jax if keras.backend.backend() == "jax" else bits_on_tensorflow
    *rows, columns = shape
    bits = draw(seed, rows, columns)
    return bits if bits.shape[-1] == columns else bits[..., :columns]


def bits_on_jax(seed, rows, columns):
    import jax
    import jax.numpy as jnp
    from jax.extend.random import threefry2x32_p

    # The counter has the rows of the result: each device hashes its own of a batch.
    shape = (*rows, math.ceil(columns / 4))
    counter = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        counter = counter * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    words = threefry2x32_p.bind(seed[0], seed[1], jnp.zeros_like(counter), counter)
    halves = [jax.lax.bitcast_convert_type(word, jnp.uint16) for word in words]
    return jnp.concatenate([half.reshape(*rows, -1) for half in halves], axis=-1)


def bits_on_tensorflow(seed, rows, columns):
    import tensorflow as tf

    # As Keras does it: seeds are int64 there, and int32 where XLA draws.
    seed = tf.cast(tf.math.floormod(seed, tf.int32.max - 1), tf.int32)
    shape = [*rows, math.ceil(columns / 2)]
    words = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32)
    return tf.reshape(tf.bitcast(words, tf.uint16), [*rows, 2 * shape[-1]])
