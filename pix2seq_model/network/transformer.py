"""Pre-LayerNorm transformer layers, and their cached form for decoding token by token.

Shape suffixes: B batch, L length of the sequence that asks, M length of the sequence that is
attended to, D width, H heads, K channels of a head, T positions of a cache, R = B * H rows of it.
Heads have floor(width / heads) channels each.

Every decoder layer has two ways through the same weights: `call` for whole sequences (teacher
forcing) and `step` for one new token, whose past and whose image lie in caches.
"""

import math
import random
from collections.abc import Callable

import keras
from keras import ops

from pix2seq_model.network.slice_update import slice_update

LAYER_NORM_EPSILON = 1e-6


def layer_norm(name: str) -> keras.layers.LayerNormalization:
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name)


def drop_path(rate: float, seeds: random.Random) -> keras.layers.Dropout:
    """Stochastic depth (arXiv:1603.09382): drops the whole residual of an example."""
    return keras.layers.Dropout(
        rate, noise_shape=(None, 1, 1), seed=seeds.getrandbits(31), name="drop_path"
    )


class MlpBlock(keras.layers.Layer):
    """x + MLP(LayerNorm(x)), with the exact (erf) GELU and dropout between the two layers."""

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        *,
        drop_path_rate: float,
        drop_units: float,
        seeds: random.Random,
        name: str = "mlp",
    ):
        super().__init__(name=name)
        self.norm = layer_norm("norm")
        self.expand = keras.layers.Dense(
            hidden_dim, kernel_initializer=glorot(seeds), name="expand"
        )
        self.dropout = keras.layers.Dropout(drop_units, seed=seeds.getrandbits(31), name="dropout")
        self.contract = keras.layers.Dense(dim, kernel_initializer=glorot(seeds), name="contract")
        self.drop_path = drop_path(drop_path_rate, seeds)
        self._dim, self._hidden_dim = dim, hidden_dim

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], self._hidden_dim))

    def call(self, x_BLD, training=False):
        hidden = ops.gelu(self.expand(self.norm(x_BLD)), approximate=False)
        residual = self.contract(self.dropout(hidden, training=training))
        return x_BLD + self.drop_path(residual, training=training)


class Attention(keras.layers.Layer):
    """Multi-head attention with biases; the projections that share an input are one matrix.

    Args:
      dim: width of input and output.
      num_heads: number of heads.
      memory: whether keys and values come from a memory rather than from the input itself.
      drop_attention: dropout of the attention weights.
      seeds: where random seeds are drawn from.
      name: name of the layer.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        memory: bool,
        drop_attention: float,
        seeds: random.Random,
        name: str,
    ):
        super().__init__(name=name)
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        inner = self.num_heads * self.head_dim
        uniform = _projection_glorot(seeds, dim, inner)
        if memory:
            self.query = keras.layers.Dense(inner, kernel_initializer=uniform(), name="query")
            self.key_value = keras.layers.Dense(
                2 * inner, kernel_initializer=uniform(), name="key_value"
            )
        else:
            self.query_key_value = keras.layers.Dense(
                3 * inner, kernel_initializer=uniform(), name="query_key_value"
            )
        self.merge = keras.layers.Dense(dim, kernel_initializer=glorot(seeds), name="merge")
        self.dropout = keras.layers.Dropout(
            drop_attention, seed=seeds.getrandbits(31), name="dropout"
        )
        self._memory, self._inner = memory, inner

    def build(self, input_shape):
        if self._memory:
            self.query.build(input_shape)
            self.key_value.build(input_shape)
        else:
            self.query_key_value.build(input_shape)
        self.merge.build((*input_shape[:-1], self._inner))

    def call(self, x_BLD, memory_BMD=None, causal=False, training=False):
        if self._memory:
            (query,) = self._split(self.query(x_BLD), 1)
            key, value = self._split(self.key_value(memory_BMD), 2)
        else:
            query, key, value = self._split(self.query_key_value(x_BLD), 3)
        if training and self.dropout.rate > 0:
            attended = self._attend_with_dropout(query, key, value, causal)
        else:
            attended = ops.dot_product_attention(query, key, value, is_causal=causal)
        return self.merge(self._join(attended))

    def weights_of(self, x_BLD, memory_BMD):
        """The attention weights of every head, (B, H, L, M) float32."""
        (query,) = self._split(self.query(x_BLD), 1)
        key, _ = self._split(self.key_value(memory_BMD), 2)
        return _softmax(ops.einsum("blhk,bmhk->bhlm", query, key) / math.sqrt(self.head_dim))

    def _attend_with_dropout(self, query, key, value, causal):
        logits = ops.einsum("blhk,bmhk->bhlm", query, key) / math.sqrt(self.head_dim)
        if causal:
            length = logits.shape[-1]
            future = ops.triu(ops.ones((length, length), dtype="float32"), k=1)
            logits = ops.cast(logits, "float32") - 1e9 * future
        weights = self.dropout(ops.cast(_softmax(logits), value.dtype), training=True)
        return ops.einsum("bhlm,bmhk->blhk", weights, value)

    def _split(self, x_BLD, parts):
        """(B, L, parts * H * K) to `parts` tensors of (B, L, H, K)."""
        batch, length = ops.shape(x_BLD)[:2]
        shape = (batch, length, self.num_heads, self.head_dim)
        return [ops.reshape(part, shape) for part in ops.split(x_BLD, parts, axis=-1)]

    def _join(self, x_BLHK):
        batch, length = ops.shape(x_BLHK)[:2]
        return ops.reshape(x_BLHK, (batch, length, self._inner))

    def cached_memory(self, memory_BMD):
        """Keys (B, H, K, M) and values (B, H, M, K) of a memory, once for all steps."""
        key, value = self._split(self.key_value(memory_BMD), 2)
        return ops.transpose(key, (0, 2, 3, 1)), ops.transpose(value, (0, 2, 1, 3))

    def step_memory(self, x_BD, cache):
        """Attends from one new token to a cached memory."""
        key_BHKM, value_BHMK = cache
        query = ops.reshape(self.query(x_BD), (-1, self.num_heads, 1, self.head_dim))
        weights = _softmax(ops.matmul(query, key_BHKM) / math.sqrt(self.head_dim))
        attended = ops.matmul(ops.cast(weights, value_BHMK.dtype), value_BHMK)
        return self.merge(ops.reshape(attended, (-1, self._inner)))

    def empty_past(self, batch_size, length: int):
        """Keys (B*H, K, T) and values (B*H, T, K) of a sequence that is still empty."""
        rows, channels = batch_size * self.num_heads, self.head_dim
        return (
            ops.zeros((rows, channels, length), dtype=self.compute_dtype),
            ops.zeros((rows, length, channels), dtype=self.compute_dtype),
        )

    def step_past(self, x_BD, cache, position, *, filled_T):
        """Attends from the token at `position` to itself and the tokens before it.

        Args:
          x_BD: the new token.
          cache: keys and values of the tokens so far.
          position: int32 scalar, where the new token goes.
          filled_T: float32, 0 at positions up to this one and very negative behind.

        Returns:
          (B, D), and the cache with the new token in it.
        """
        # B*H rows, which is how the products take them: under another shape XLA would update a
        # second copy of the whole cache for them in every step.
        key_RKT, value_RTK = cache
        query, key, value = (
            ops.reshape(part, (-1, 1, self.head_dim))
            for part in ops.split(self.query_key_value(x_BD), 3, axis=-1)
        )
        key_RKT = slice_update(key_RKT, (0, 0, position), ops.transpose(key, (0, 2, 1)))
        value_RTK = slice_update(value_RTK, (0, position, 0), value)
        logits = ops.matmul(query, key_RKT) / math.sqrt(self.head_dim)
        weights = _softmax(ops.cast(logits, "float32") + filled_T)
        attended = ops.matmul(ops.cast(weights, value_RTK.dtype), value_RTK)
        return self.merge(ops.reshape(attended, (-1, self._inner))), (key_RKT, value_RTK)


class EncoderLayer(keras.layers.Layer):
    """Self-attention, then an MLP, each a residual of its normalised input."""

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        num_heads: int,
        *,
        drop_path_rate: float,
        drop_units: float,
        drop_attention: float,
        seeds: random.Random,
        name: str,
    ):
        super().__init__(name=name)
        self.norm = layer_norm("norm")
        self.attention = Attention(
            dim,
            num_heads,
            memory=False,
            drop_attention=drop_attention,
            seeds=seeds,
            name="attention",
        )
        self.drop_path = drop_path(drop_path_rate, seeds)
        self.mlp = MlpBlock(
            dim, hidden_dim, drop_path_rate=drop_path_rate, drop_units=drop_units, seeds=seeds
        )

    def build(self, input_shape):
        for layer in (self.norm, self.attention, self.mlp):
            layer.build(input_shape)

    def call(self, x_BLD, training=False):
        residual = self.attention(self.norm(x_BLD), training=training)
        x_BLD = x_BLD + self.drop_path(residual, training=training)
        return self.mlp(x_BLD, training=training)


class DecoderLayer(keras.layers.Layer):
    """Causal self-attention, attention to the image, then an MLP."""

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        num_heads: int,
        *,
        drop_path_rate: float,
        drop_units: float,
        drop_attention: float,
        seeds: random.Random,
        name: str,
    ):
        super().__init__(name=name)
        self.self_norm = layer_norm("self_norm")
        self.self_attention = Attention(
            dim,
            num_heads,
            memory=False,
            drop_attention=drop_attention,
            seeds=seeds,
            name="self_attention",
        )
        self.cross_norm = layer_norm("cross_norm")
        self.cross_attention = Attention(
            dim,
            num_heads,
            memory=True,
            drop_attention=drop_attention,
            seeds=seeds,
            name="cross_attention",
        )
        self.drop_path = drop_path(drop_path_rate, seeds)
        self.mlp = MlpBlock(
            dim, hidden_dim, drop_path_rate=drop_path_rate, drop_units=drop_units, seeds=seeds
        )

    def build(self, input_shape):
        for layer in (
            *(self.self_norm, self.self_attention),
            *(self.cross_norm, self.cross_attention, self.mlp),
        ):
            layer.build(input_shape)

    def call(self, x_BLD, memory_BMD, training=False):
        residual = self.self_attention(self.self_norm(x_BLD), causal=True, training=training)
        x_BLD = x_BLD + self.drop_path(residual, training=training)
        residual = self.cross_attention(self.cross_norm(x_BLD), memory_BMD, training=training)
        x_BLD = x_BLD + self.drop_path(residual, training=training)
        return self.mlp(x_BLD, training=training)

    def call_with_attention(self, x_BLD, memory_BMD):
        """As `call`, with the weights (B, H, L, M) of the attention to the image."""
        x_BLD = x_BLD + self.self_attention(self.self_norm(x_BLD), causal=True)
        query_BLD = self.cross_norm(x_BLD)
        x_BLD = x_BLD + self.cross_attention(query_BLD, memory_BMD)
        return self.mlp(x_BLD), self.cross_attention.weights_of(query_BLD, memory_BMD)

    def step(self, x_BD, past, memory, position, *, filled_T):
        """One new token through the layer: (B, D) and the cache of the past with it added."""
        residual, past = self.self_attention.step_past(
            self.self_norm(x_BD), past, position, filled_T=filled_T
        )
        x_BD = x_BD + residual
        x_BD = x_BD + self.cross_attention.step_memory(self.cross_norm(x_BD), memory)
        return self.mlp(x_BD), past


def glorot(seeds: random.Random) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=seeds.getrandbits(31))


def _projection_glorot(seeds: random.Random, dim: int, inner: int) -> Callable:
    """Glorot's rule for one (dim, inner) projection, for those that lie side by side in a matrix.

    The published network lets Keras take the width of its (width, heads, channels) kernels for a
    receptive field, which makes them several times smaller: at first attention then hardly counts
    beside the MLPs, and a small network trained from scratch is slow to look at the image at all.
    """
    limit = math.sqrt(6 / (dim + inner))
    return lambda: keras.initializers.RandomUniform(-limit, limit, seed=seeds.getrandbits(31))


def _softmax(logits):
    return ops.softmax(ops.cast(logits, "float32"), axis=-1)
