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
from pix2seq_model.network.blocked_mlp import blocked_mlp, is_large
from pix2seq_model.network.dense import Dense
from pix2seq_model.network.dropout import Dropout
from pix2seq_model.network.gelu import gelu
from pix2seq_model.network.normalization import LayerNorm
from pix2seq_model.network.remat import recomputes_layers
from pix2seq_model.network.step_products import Products

MASKED = -1e9  # added to the logits of positions that must not be seen
_PRODUCTS = Products()


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
        normed_BLD = self.norm(x_BLD, training=training)
        if training and recomputes_layers() and is_large(x_BLD, self._mlp_dim):
            residual = self._in_blocks(normed_BLD)
        else:
            hidden = gelu(self.expand(normed_BLD), training=training)
            residual = self.contract(self.dropout(hidden, training=training))
        return x_BLD + self.drop_path(residual, training=training)

    def _in_blocks(self, x_BLD):
        kept = None
        if self.dropout.rate:
            kept = self.dropout.draw_kept((*ops.shape(x_BLD)[:2], self._mlp_dim))
        weights = ((layer.kernel.value, layer.bias.value) for layer in (self.expand, self.contract))
        return blocked_mlp(x_BLD, *weights, kept_BLU=kept, scale=self.dropout.scale)

    def step(self, x_BD, products):
        """As `call`, of one new token, (B, D)."""
        hidden = ops.gelu(products.dense(self.expand, self.norm(x_BD)), approximate=False)
        return x_BD + products.dense(self.contract, hidden)


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
        query, key, value = map(self._heads, parts)
        if training and self.dropout.rate > 0:
            attended = self._attend_with_dropout(query, key, value, causal)
        else:
            attended = attention(query, key, value, causal=causal, training=training)
        batch, length = ops.shape(attended)[:2]
        return self.output_projection(ops.reshape(attended, (batch, length, self._inner)))

    def cross_attention_weights(self, x_BLD, encoded_BMD):
        """The attention weights of every head, (B, H, L, M) float32."""
        query = self._heads(self.query(x_BLD))
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
        return [self._heads(part) for part in ops.split(x_BLD, parts, axis=-1)]

    def _heads(self, x_BLD):
        """(B, L, H * K) to (B, L, H, K)."""
        batch, length = ops.shape(x_BLD)[:2]
        return ops.reshape(x_BLD, (batch, length, self.num_heads, self.head_dim))

    def cross_kv_cache(self, encoded_BMD, products=_PRODUCTS):
        """Keys and values of an encoded image, once for all steps, as `products` stores them."""
        key, value = self._split(self.key_value(encoded_BMD), 2)
        return products.store_keys(key), products.store_values(value)

    def cross_step(self, x_BD, cross_kv_cache, products=_PRODUCTS):
        """Attends from one new token to an encoded image, (B, D)."""
        keys, values = cross_kv_cache
        query_RK = ops.reshape(products.dense(self.query, x_BD), (-1, self.head_dim))
        logits_RM = products.with_keys(query_RK, keys) / math.sqrt(self.head_dim)
        return self._projected(products.with_values(_softmax(logits_RM), values), products)

    def step(self, x_BD, kv_cache, *, attention_mask_T, products=_PRODUCTS):
        """Attends from a new token to itself and the tokens before it.

        Args:
          x_BD: the new token.
          kv_cache: keys and values of the tokens before it, as `products` keeps them.
          attention_mask_T: float32, added to the logits: 0 before this position, very negative
            from it on.
          products: how weights and caches are stored.

        Returns:
          (B, D), and the (R, K) key and value of the new token, for the cache.
        """
        keys, values = kv_cache
        query_RK, key_RK, value_RK = (
            ops.reshape(part, (-1, self.head_dim))
            for part in ops.split(products.dense(self.query_key_value, x_BD), 3, axis=-1)
        )
        # The new token is not in the cache yet: one write for all layers follows at the end.
        own_R1 = ops.sum(query_RK * key_RK, axis=-1, keepdims=True)
        before_RT = products.with_keys(query_RK, keys)
        scale = 1 / math.sqrt(self.head_dim)
        own_R1, before_RT = (ops.cast(x, "float32") * scale for x in (own_R1, before_RT))
        weights = _softmax(ops.concatenate([before_RT + attention_mask_T, own_R1], axis=-1))
        attended_RK = products.with_values(weights[:, :-1], values)
        attended_RK = attended_RK + ops.cast(weights[:, -1:], value_RK.dtype) * value_RK
        return self._projected(attended_RK, products), (key_RK, value_RK)

    def _projected(self, attended_RK, products):
        return products.dense(self.output_projection, ops.reshape(attended_RK, (-1, self._inner)))


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

    def step(self, x_BD, kv_cache, cross_kv_cache, *, attention_mask_T, products=_PRODUCTS):
        """One new token through the layer: (B, D), and its key and value for the cache."""
        residual, own = self.self_attention.step(
            self.self_norm(x_BD), kv_cache, attention_mask_T=attention_mask_T, products=products
        )
        x_BD = x_BD + residual
        x_BD = x_BD + self.cross_attention.cross_step(
            self.cross_norm(x_BD), cross_kv_cache, products
        )
        return self.mlp.step(x_BD, products), own

    @property
    def step_layers(self) -> tuple[keras.layers.Dense, ...]:
        """The dense layers that a step uses."""
        own, cross = self.self_attention, self.cross_attention
        projections = (own.output_projection, cross.query, cross.output_projection)
        return (own.query_key_value, *projections, self.mlp.expand, self.mlp.contract)


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
