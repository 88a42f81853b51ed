"""The Pix2Seq network: an image encoder, a bridge and an autoregressive decoder of tokens.

Shape suffixes: B batch, N positions of the encoded image, D width, L tokens, V vocabulary.
"""

import dataclasses
import random
from typing import Any

import keras
import numpy as np
from keras import ops

from pix2seq_model.network.checkpointing import LAYERS, NONE
from pix2seq_model.network.config import DROP_RATES, ModelConfig
from pix2seq_model.network.patch_embedding import PatchEmbedding
from pix2seq_model.network.position_encoding import image_position_encoding
from pix2seq_model.network.remat import run_layer, sum_gradient_here
from pix2seq_model.network.resnet import ResNetStem
from pix2seq_model.network.step_products import Products, half_products
from pix2seq_model.network.transformer import (
    MASKED,
    DecoderLayer,
    EncoderLayer,
    LayerSettings,
    MlpBlock,
    dense,
    layer_norm,
)
from pix2seq_model.tokens.vocabulary import Vocabulary

_PRODUCTS = Products()


def build_model(
    model_config: ModelConfig,
    vocabulary: Vocabulary,
    *,
    seed: int = 0,
    precision: str | None = None,
) -> "Pix2Seq":
    """The network with freshly drawn weights.

    Args:
      model_config: the architecture.
      vocabulary: the token ids.
      seed: of the initial weights and of everything that is drawn while training.
      precision: Keras' policy, such as "mixed_bfloat16", of all layers; that in force if None.
    """
    _take_own_conventions()
    policy_before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision or policy_before)
    try:
        model = Pix2Seq(model_config, vocabulary, seed=seed)
        height, width = model_config.image_size
        model.build({"image": (None, height, width, 3), "tokens": (None, model_config.max_seq_len)})
    finally:
        keras.config.set_dtype_policy(policy_before)
    return model


def _take_own_conventions() -> None:
    """Whatever a user's keras.json says: the order of axes, and numbers where no policy says."""
    keras.config.set_image_data_format("channels_last")
    if keras.config.floatx() != "float32":
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


class Pix2Seq(keras.Model):
    """Images and the tokens so far to the logits of each next token."""

    def __init__(self, model_config: ModelConfig, vocabulary: Vocabulary, *, seed: int = 0):
        super().__init__(name="pix2seq")
        seeds = random.Random(seed)
        self.model_config, self.vocabulary = model_config, vocabulary
        self.encoder = ImageEncoder(model_config, seeds=seeds)
        self.bridge = Bridge(model_config, map_size=self.encoder.map_size, seeds=seeds)
        self.decoder = TokenDecoder(model_config, vocabulary.vocab_size, seeds=seeds)

    def build(self, input_shape):
        config = self.model_config
        self.encoder.build((None, *config.image_size, 3))
        self.bridge.build((None, None, config.dim_encoder))
        self.decoder.build((None, None), (None, None, config.dim_decoder))
        self.built = True

    def call(self, inputs, training=False):
        """Teacher forcing.

        Args:
          inputs: {"image": (B, height, width, 3) float in [0, 1], "tokens": (B, L) int}, tokens
            being the prompt and all tokens but the last.
          training: whether to drop and to normalise by the batch; an encoder or a stem that is not
            trainable does neither.

        Returns:
          logits (B, L, V) float32 of the tokens that follow.
        """
        encoded_BND = self.encode(inputs["image"], training=training)
        return self.decode(inputs["tokens"], encoded_BND, training=training)

    def encode(self, images, training=False):
        """Images (B, height, width, 3) to what the decoder attends to, (B, N, D)."""
        encoded_BND = self.encoder(images, training=training and self.encoder.trainable)
        return self.bridge(encoded_BND, training=training)

    def decode(self, tokens, encoded_BND, training=False):
        """Tokens (B, L) and an encoded image to logits (B, L, V)."""
        return self.decoder(tokens, encoded_BND, training=training)


class ImageEncoder(keras.layers.Layer):
    """Stem, position encoding, an optional class token, transformer layers and a last LayerNorm."""

    recompute = NONE  # see recompute_activations

    def __init__(self, config: ModelConfig, *, seeds: random.Random):
        super().__init__(name="encoder")
        if config.backbone == "vit":
            self.stem = PatchEmbedding(config.dim_encoder, config.patch_size, seeds=seeds)
        else:
            self.stem = ResNetStem(config, seeds=seeds)
        self.map_size = self.stem.map_size(config.image_size)
        self._position_encoding = image_position_encoding(*self.map_size, dim=config.dim_encoder)
        settings = _layer_settings(config, "encoder")
        self.layers = [
            EncoderLayer(settings, seeds=seeds, name=f"layer{index}")
            for index in range(config.num_encoder_layers)
        ]
        self.norm = layer_norm("norm")
        self._config, self._seeds = config, seeds

    def build(self, input_shape):
        dim = self._config.dim_encoder
        self.stem.build(input_shape)
        self.class_token = None
        if self._config.use_class_token:
            self.class_token = self.add_weight(
                shape=(1, dim), initializer=_small_normal(self._seeds), name="class_token"
            )
        for layer in (*self.layers, self.norm):
            layer.build((None, None, dim))

    def call(self, images, training=False):
        """Images (B, height, width, 3) to (B, N, D); the class token, if any, comes first."""
        x_BND = self.stem(images, training=training and self.stem.trainable)
        x_BND = x_BND + ops.cast(self._position_encoding, x_BND.dtype)
        if self.class_token is not None:
            token_11D = ops.cast(self.class_token, x_BND.dtype)[None]
            shape_B1D = (ops.shape(x_BND)[0], 1, self._config.dim_encoder)
            token_B1D = ops.broadcast_to(token_11D, shape_B1D)
            x_BND = ops.concatenate([token_B1D, x_BND], axis=1)
        for layer in self.layers:
            x_BND = run_layer(layer, x_BND, training=training, recompute=self.recompute)
        return self.norm(x_BND)


class Bridge(keras.layers.Layer):
    """From the encoder's width to the decoder's.

    A dense layer and LayerNorm ("linear"), then the position encoding again ("linear_p"), then an
    MLP block ("mlp") whose hidden width follows the encoder's ratio, as in the published network.
    """

    def __init__(self, config: ModelConfig, *, map_size: tuple[int, int], seeds: random.Random):
        super().__init__(name="bridge")
        dim = config.dim_decoder
        self.projection = dense(dim, seeds, "projection")
        self.norm = layer_norm("norm")
        self._position_encoding = self.mlp = None
        if config.bridge != "linear":
            encoding = image_position_encoding(*map_size, dim=dim)
            # A class token has no position.
            self._position_encoding = np.pad(encoding, ((int(config.use_class_token), 0), (0, 0)))
        if config.bridge == "mlp":
            ratio = max(1, config.mlp_dim_encoder // config.dim_encoder)
            settings = dataclasses.replace(_layer_settings(config, "decoder"), mlp_dim=dim * ratio)
            self.mlp = MlpBlock(settings, seeds=seeds)
        self._dim = dim

    def build(self, input_shape):
        self.projection.build(input_shape)
        for layer in filter(None, (self.norm, self.mlp)):
            layer.build((*input_shape[:-1], self._dim))

    def call(self, x_BND, training=False):
        x_BND = self.norm(self.projection(x_BND))
        if self._position_encoding is not None:
            x_BND = x_BND + ops.cast(self._position_encoding, x_BND.dtype)
        return x_BND if self.mlp is None else self.mlp(x_BND, training=training)


class TokenDecoder(keras.layers.Layer):
    """Token and position embedding, transformer layers, LayerNorm and the logits of next tokens."""

    recompute = NONE  # see recompute_activations

    def __init__(self, config: ModelConfig, vocab_size: int, *, seeds: random.Random):
        super().__init__(name="decoder")
        settings = _layer_settings(config, "decoder")
        self.layers = [
            DecoderLayer(settings, seeds=seeds, name=f"layer{index}")
            for index in range(config.num_decoder_layers)
        ]
        # Logits are float32 under every precision policy.
        self.norm = layer_norm("norm", dtype="float32")
        self._config, self._vocab_size, self._seeds = config, vocab_size, seeds

    def build(self, tokens_shape, encoded_shape):
        config, dim = self._config, self._config.dim_decoder

        def weight(name, *shape):
            return self.add_weight(
                shape=shape, initializer=_small_normal(self._seeds), name=name, autocast=False
            )

        self.token_embedding = weight("token_embedding", self._vocab_size, dim)
        self.output_embedding = self.token_embedding
        if not config.shared_embedding:
            self.output_embedding = weight("output_embedding", self._vocab_size, dim)
        self.output_bias = weight("output_bias", self._vocab_size) if config.output_bias else None
        self.position_embedding = weight("position_embedding", config.max_seq_len, dim)
        for layer in (*self.layers, self.norm):
            layer.build((None, None, dim))

    def call(self, tokens, encoded_BND, training=False):
        """Tokens (B, L) and an encoded image (B, N, D) to logits (B, L, V) float32."""
        x_BLD = self._embed(tokens, self.position_embedding[: tokens.shape[1]])
        how = {"training": training, "recompute": self.recompute}
        for layer in self.layers:
            if training and self.recompute == LAYERS:
                encoded_BND = sum_gradient_here(encoded_BND)
            x_BLD = run_layer(layer, x_BLD, encoded_BND, **how)
        return self._logits(x_BLD, ops.transpose(self.output_embedding))

    def cross_attention(self, tokens, encoded_BND):
        """The weights with which each token looks at the image, a list over layers.

        Returns:
          (B, H, L, N) float32 for every layer: the attention that predicts the next token.
        """
        weights = []
        x_BLD = self._embed(tokens, self.position_embedding[: tokens.shape[1]])
        for layer in self.layers:
            x_BLD, layer_weights = layer.call_with_attention(x_BLD, encoded_BND)
            weights.append(layer_weights)
        return weights

    def step_products(self, storage: str, *, batch_size: Any, on_processor: bool) -> Products:
        """How the steps of decoding store weights, keys and values.

        Args:
          storage: "float32", the network's own precision, or "float16".
          batch_size: number of images, a tensor if it is not known yet.
          on_processor: whether a processor computes, not an accelerator.
        """
        if storage == "float32":
            return Products(stack_layers=not on_processor)
        return half_products(
            [dense for layer in self.layers for dense in layer.step_layers],
            ops.transpose(self.output_embedding),
            batch_size=batch_size,
            on_processor=on_processor,
        )

    def init_kv_cache(
        self, encoded_BND: Any, length: int, products: Products = _PRODUCTS
    ) -> tuple[Any, list, Any]:
        """Caches for decoding `length` tokens.

        Returns:
          kv_cache: of each layer's tokens, still empty; and what stays the same in every step:
          cross_kv_cache, of the image in each layer, and the output embedding (D, V), which each
          step would otherwise transpose again.
        """
        encoded_BND = ops.cast(encoded_BND, self.compute_dtype)
        attention = self.layers[0].self_attention
        kv_cache = products.empty_kv_cache(
            len(self.layers),
            rows=ops.shape(encoded_BND)[0] * attention.num_heads,
            channels=attention.head_dim,
            length=length,
            dtype=self.compute_dtype,
        )
        cross_kv_cache = [
            layer.cross_attention.cross_kv_cache(encoded_BND, products) for layer in self.layers
        ]
        return kv_cache, cross_kv_cache, ops.transpose(self.output_embedding)

    def step(
        self, tokens_B, cache_index, kv_cache, *, cross_kv_cache, output_DV, products=_PRODUCTS
    ):
        """Logits of the token after `tokens_B`.

        Args:
          tokens_B: (B,) int.
          cache_index: int32 scalar, the position of `tokens_B`, 0 for the prompt.
          kv_cache, cross_kv_cache, output_DV: what `init_kv_cache` returned.
          products: what `init_kv_cache` was given.

        Returns:
          logits (B, V) float32, and the kv_cache with these tokens in it.
        """
        products, cross_kv_cache = products.in_step(cache_index, cross_kv_cache)
        table = ops.convert_to_tensor(self.position_embedding)
        position_1D = ops.slice(table, (cache_index, 0), (1, self._config.dim_decoder))
        x_BD = self._embed(tokens_B, position_1D)
        length = products.layer_kv_cache(kv_cache, 0)[0].shape[-1]
        mask_T = ops.where(ops.arange(length) < cache_index, 0.0, MASKED)
        new = []
        for number, (layer, cross) in enumerate(zip(self.layers, cross_kv_cache, strict=True)):
            cached = products.layer_kv_cache(kv_cache, number)
            x_BD, own = layer.step(x_BD, cached, cross, attention_mask_T=mask_T, products=products)
            new.append(own)
        kv_cache = products.write(kv_cache, cache_index, new)
        return self._with_bias(products.logits(self.norm(x_BD), output_DV)), kv_cache

    def _embed(self, tokens, positions):
        embedded = ops.take(self.token_embedding, tokens, axis=0) + positions
        return ops.cast(embedded, self.compute_dtype)

    def _logits(self, x, output_DV):
        return self._with_bias(ops.matmul(self.norm(x), output_DV))

    def _with_bias(self, logits):
        if self.output_bias is None:
            return logits
        return logits + ops.cast(self.output_bias, logits.dtype)


def _layer_settings(config: ModelConfig, part: str) -> LayerSettings:
    sizes = {name: getattr(config, f"{name}_{part}") for name in ("dim", "mlp_dim", "num_heads")}
    shared = ("attention_initializer", *DROP_RATES)
    return LayerSettings(**sizes, **{name: getattr(config, name) for name in shared})


def _small_normal(seeds: random.Random) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02, seed=seeds.getrandbits(31))
