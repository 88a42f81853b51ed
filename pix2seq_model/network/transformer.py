"""Pre-LayerNorm transformer layers, and their cached form for decoding token by token.

Shape suffixes: B batch, L length of the sequence that asks, M length of the sequence that is
attended to, D width, H heads, K channels of a head, T positions of a cache, R = B * H rows of it.
Heads have floor(width / heads) channels each.

Every decoder layer has two ways through the same weights: `call` for whole sequences (teacher
forcing) and `step` for one new token, with the keys and values of the tokens before it and of the
image in caches.
"""

import dataclasses
import math
import random
from typing import Any

import keras
from keras import ops

from pix2seq_model.network.blocked_attention import attention
from pix2seq_model.network.dense import Dense
from pix2seq_model.network.dropout import Dropout
from pix2seq_model.network.gelu import gelu
from pix2seq_model.network.normalization import LayerNorm
from pix2seq_model.network.slice_update import slice_update

MASKED = -1e9  # added to the logits of positions that must not be seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """One layer of a transformer, as `ModelConfig` describes it: sizes, how its attention starts,
    rates of dropping in training.
    """

    dim: int
    mlp_dim: int
    num_heads: int
    attention_initializer: str
    drop_path: float
    drop_units: float
    drop_attention: float


def layer_norm(name: str, **options: Any) -> keras.layers.LayerNormalization:
    return LayerNorm(epsilon=1e-6, name=name, **options)


def glorot(seeds: random.Random) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=seeds.getrandbits(31))


def dense(units: int, seeds: random.Random, name: str) -> Dense:
    return Dense(units, kernel_initializer=glorot(seeds), name=name)


def dropout(rate: float, seeds: random.Random) -> Dropout:
    return Dropout(rate, seed=seeds.getrandbits(31), name="dropout")


def drop_path(rate: float, seeds: random.Random) -> Dropout:
    """Stochastic depth (arXiv:1603.09382): drops the whole residual of an example."""
    return Dropout(rate, noise_shape=(None, 1, 1), seed=seeds.getrandbits(31), name="drop_path")


class MlpBlock(keras.layers.Layer):
    """x + MLP(LayerNorm(x)), with the exact (erf) GELU and dropout between the two layers."""

    def __init__(self, settings: LayerSettings, *, seeds: random.Random):
        super().__init__(name="mlp")
        self.norm = layer_norm("norm")
        self.expand = dense(settings.mlp_dim, seeds, "expand")
        self.dropout = dropout(settings.drop_units, seeds)
        self.contract = dense(settings.dim, seeds, "contract")
        self.drop_path = drop_path(settings.drop_path, seeds)
        self._mlp_dim = settings.mlp_dim

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], self._mlp_dim))

    def call(self, x_BLD, training=False):
        hidden = gelu(self.expand(self.norm(x_BLD, training=training)), training=training)
        residual = self.contract(self.dropout(hidden, training=training))
        return x_BLD + self.drop_path(residual, training=training)


class Attention(keras.layers.Layer):
    """Multi-head attention with biases; the projections that share an input are one matrix.

    Args:
      settings: of the layer it belongs to.
      cross: whether keys and values come from another sequence (cross-attention) rather than from
        the input itself (self-attention).
      seeds: where random seeds are drawn from.
      name: name of the layer.
    """

    def __init__(self, settings: LayerSettings, *, cross: bool, seeds: random.Random, name: str):
        super().__init__(name=name)
        dim = settings.dim
        self.num_heads, self.head_dim = settings.num_heads, dim // settings.num_heads
        inner = self.num_heads * self.head_dim
        input_limit, output_limit = _initial_limits(settings)

        def projection(units: int, limit: float, name: str) -> Dense:
            uniform = keras.initializers.RandomUniform(-limit, limit, seed=seeds.getrandbits(31))
            return Dense(units, kernel_initializer=uniform, name=name)

        if cross:
            self.query = projection(inner, input_limit, "query")
            self.key_value = projection(2 * inner, input_limit, "key_value")
        else:
            self.query_key_value = projection(3 * inner, input_limit, "query_key_value")
        self.output_projection = projection(dim, output_limit, "output_projection")
        self.dropout = dropout(settings.drop_attention, seeds)
        self._cross, self._inner = cross, inner

    def build(self, input_shape):
        inputs = (self.query, self.key_value) if self._cross else (self.query_key_value,)
        for projection in inputs:
            projection.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self._inner))

    def call(self, x_BLD, encoded_BMD=None, causal=False, training=False):
        """(B, L, D); keys and values are those of `encoded_BMD` in cross-attention."""
        if self._cross:
            parts = [self.query(x_BLD), *self.key_value.parts(encoded_BMD, 2)]
        else:
            parts = self.query_key_value.parts(x_BLD, 3)
        query, key, value = (self._split(part, 1)[0] for part in parts)
        if training and self.dropout.rate > 0:
            attended = self._attend_with_dropout(query, key, value, causal)
        else:
            attended = attention(query, key, value, causal=causal, training=training)
        batch, length = ops.shape(attended)[:2]
        return self.output_projection(ops.reshape(attended, (batch, length, self._inner)))

    def cross_attention_weights(self, x_BLD, encoded_BMD):
        """The attention weights of every head, (B, H, L, M) float32."""
        (query,) = self._split(self.query(x_BLD), 1)
        key, _ = self._split(self.key_value(encoded_BMD), 2)
        return _softmax(ops.einsum("blhk,bmhk->bhlm", query, key) / math.sqrt(self.head_dim))

    def _attend_with_dropout(self, query, key, value, causal):
        logits = ops.einsum("blhk,bmhk->bhlm", query, key) / math.sqrt(self.head_dim)
        if causal:
            length = logits.shape[-1]
            future = ops.triu(ops.ones((length, length), dtype="float32"), k=1)
            logits = ops.cast(logits, "float32") + MASKED * future
        weights = self.dropout(ops.cast(_softmax(logits), value.dtype), training=True)
        return ops.einsum("bhlm,bmhk->blhk", weights, value)

    def _split(self, x_BLD, parts):
        """(B, L, parts * H * K) to `parts` tensors of (B, L, H, K)."""
        batch, length = ops.shape(x_BLD)[:2]
        shape = (batch, length, self.num_heads, self.head_dim)
        return [ops.reshape(part, shape) for part in ops.split(x_BLD, parts, axis=-1)]

    def cross_kv_cache(self, encoded_BMD):
        """Keys (B, H, K, M) and values (B, H, M, K) of an encoded image, once for all steps."""
        key, value = self._split(self.key_value(encoded_BMD), 2)
        return ops.transpose(key, (0, 2, 3, 1)), ops.transpose(value, (0, 2, 1, 3))

    def cross_step(self, x_BD, cross_kv_cache):
        """Attends from one new token to an encoded image, (B, D)."""
        key_BHKM, value_BHMK = cross_kv_cache
        query = ops.reshape(self.query(x_BD), (-1, self.num_heads, 1, self.head_dim))
        return self._attend_step(ops.matmul(query, key_BHKM), value_BHMK)

    def empty_kv_cache(self, batch_size: Any, length: int) -> tuple[Any, Any]:
        """Keys (B*H, K, T) and values (B*H, T, K) of a sequence that is still empty."""
        rows, channels = batch_size * self.num_heads, self.head_dim
        return (
            ops.zeros((rows, channels, length), dtype=self.compute_dtype),
            ops.zeros((rows, length, channels), dtype=self.compute_dtype),
        )

    def step(self, x_BD, kv_cache, cache_index, *, attention_mask_T):
        """Attends from the token at `cache_index` to itself and the tokens before it.

        Args:
          x_BD: the new token.
          kv_cache: keys and values of the tokens so far.
          cache_index: int32 scalar, the position of the new token.
          attention_mask_T: float32, added to the logits: 0 up to this position, very negative
            after it.

        Returns:
          (B, D), and the cache with the new token in it.
        """
        # B*H rows, which is how the products take them: with another shape XLA would update a
        # second copy of the whole cache for them in every step.
        key_RKT, value_RTK = kv_cache
        query, key, value = (
            ops.reshape(part, (-1, 1, self.head_dim))
            for part in ops.split(self.query_key_value(x_BD), 3, axis=-1)
        )
        key_RKT = slice_update(key_RKT, (0, 0, cache_index), ops.transpose(key, (0, 2, 1)))
        value_RTK = slice_update(value_RTK, (0, cache_index, 0), value)
        attended_BD = self._attend_step(ops.matmul(query, key_RKT), value_RTK, attention_mask_T)
        return attended_BD, (key_RKT, value_RTK)

    def _attend_step(self, products, values, attention_mask=None):
        """From the products of one token's query with the keys to (B, D)."""
        logits = products / math.sqrt(self.head_dim)
        if attention_mask is not None:
            logits = ops.cast(logits, "float32") + attention_mask
        attended = ops.matmul(ops.cast(_softmax(logits), values.dtype), values)
        return self.output_projection(ops.reshape(attended, (-1, self._inner)))


class EncoderLayer(keras.layers.Layer):
    """Self-attention, then an MLP, each a residual of its normalised input."""

    def __init__(self, settings: LayerSettings, *, seeds: random.Random, name: str):
        super().__init__(name=name)
        self.norm = layer_norm("norm")
        self.attention = Attention(settings, cross=False, seeds=seeds, name="attention")
        self.drop_path = drop_path(settings.drop_path, seeds)
        self.mlp = MlpBlock(settings, seeds=seeds)

    def build(self, input_shape):
        for layer in (self.norm, self.attention, self.mlp):
            layer.build(input_shape)

    def call(self, x_BLD, training=False):
        residual = self.attention(self.norm(x_BLD, training=training), training=training)
        x_BLD = x_BLD + self.drop_path(residual, training=training)
        return self.mlp(x_BLD, training=training)


class DecoderLayer(keras.layers.Layer):
    """Causal self-attention, attention to the image, then an MLP."""

    def __init__(self, settings: LayerSettings, *, seeds: random.Random, name: str):
        super().__init__(name=name)
        self.self_norm = layer_norm("self_norm")
        self.self_attention = Attention(settings, cross=False, seeds=seeds, name="self_attention")
        self.cross_norm = layer_norm("cross_norm")
        self.cross_attention = Attention(settings, cross=True, seeds=seeds, name="cross_attention")
        self.drop_path = drop_path(settings.drop_path, seeds)
        self.mlp = MlpBlock(settings, seeds=seeds)

    def build(self, input_shape):
        attentions = (self.self_attention, self.cross_attention)
        for layer in (self.self_norm, self.cross_norm, *attentions, self.mlp):
            layer.build(input_shape)

    def call(self, x_BLD, encoded_BMD, training=False):
        # Told to each: where activations are computed again, there is no call to take it from.
        query_BLD = self.self_norm(x_BLD, training=training)
        residual = self.self_attention(query_BLD, causal=True, training=training)
        x_BLD = x_BLD + self.drop_path(residual, training=training)
        query_BLD = self.cross_norm(x_BLD, training=training)
        residual = self.cross_attention(query_BLD, encoded_BMD, training=training)
        x_BLD = x_BLD + self.drop_path(residual, training=training)
        return self.mlp(x_BLD, training=training)

    def call_with_attention(self, x_BLD, encoded_BMD):
        """As `call`, with the weights (B, H, L, M) of the attention to the image."""
        x_BLD = x_BLD + self.self_attention(self.self_norm(x_BLD), causal=True)
        query_BLD = self.cross_norm(x_BLD)
        x_BLD = x_BLD + self.cross_attention(query_BLD, encoded_BMD)
        weights = self.cross_attention.cross_attention_weights(query_BLD, encoded_BMD)
        return self.mlp(x_BLD), weights

    def step(self, x_BD, kv_cache, cross_kv_cache, cache_index, *, attention_mask_T):
        """One new token through the layer: (B, D), and the cache of tokens with it added."""
        residual, kv_cache = self.self_attention.step(
            self.self_norm(x_BD), kv_cache, cache_index, attention_mask_T=attention_mask_T
        )
        x_BD = x_BD + residual
        x_BD = x_BD + self.cross_attention.cross_step(self.cross_norm(x_BD), cross_kv_cache)
        return self.mlp(x_BD), kv_cache


def _initial_limits(settings: LayerSettings) -> tuple[float, float]:
    """Glorot's sqrt(6 / (fan in + fan out)) for one input projection, and for the output's.

    The published network leaves the shapes of its kernels to Keras, which takes the width of
    (width, heads, channels), and the heads of (heads, channels, width), for a convolution's
    receptive field: fans that many times as large. Attention then starts out weak next to the MLPs.
    """
    dim, heads = settings.dim, settings.num_heads
    channels = dim // heads
    if settings.attention_initializer == "glorot":
        limit = math.sqrt(6 / (dim + heads * channels))
        return limit, limit
    return math.sqrt(6 / (dim * (heads + channels))), math.sqrt(6 / (heads * (channels + dim)))


def _softmax(logits):
    return ops.softmax(ops.cast(logits, "float32"), axis=-1)
