"""The ResNet stem (arXiv:1512.03385): a bottleneck ResNet-50 or -101, projected and normalised.

Strided convolutions are padded symmetrically by hand, unlike Keras' "same" padding, whose pixels
fall to the bottom and right; the published weights were trained so.
"""

import functools
import random

import keras
from keras import ops

from pix2seq_model.network.checkpointing import NONE
from pix2seq_model.network.config import RESNET_KERNEL, RESNET_WIDTH, ModelConfig
from pix2seq_model.network.dense import Conv2D
from pix2seq_model.network.normalization import BatchNorm
from pix2seq_model.network.remat import run_layer
from pix2seq_model.network.transformer import dense, dropout, layer_norm

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


class ConvolutionNorm(keras.layers.Layer):
    """Convolution without bias, batch norm and optionally ReLU."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        relu: bool = True,
        zero_scale: bool = False,
        seeds: random.Random,
        name: str,
    ):
        super().__init__(name=name)
        self.convolution = Conv2D(
            filters,
            kernel_size,
            strides=stride,
            dilation_rate=dilation,
            padding="same" if stride == 1 else "valid",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(seed=seeds.getrandbits(31)),
            name="convolution",
        )
        self.norm = BatchNorm(
            gamma_initializer="zeros" if zero_scale else "ones",
            # Statistics of the whole batch on several devices; JAX computes them so by itself.
            synchronized=keras.backend.backend() == "tensorflow",
            name="norm",
            **_BATCH_NORM,
        )
        self.out_filters, self._relu = filters, relu
        border = (kernel_size - 1) // 2
        self._padding = ((0, 0), (border, border), (border, border), (0, 0))
        self._pads = stride > 1 and border > 0

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.norm.build((*input_shape[:-1], self.out_filters))

    def call(self, x, training=False):
        if self._pads:
            x = ops.pad(x, self._padding)
        x = self.norm(self.convolution(x), training=training)
        return ops.relu(x) if self._relu else x


class Bottleneck(keras.layers.Layer):
    """1x1, 3x3 (strided or dilated), 1x1 convolution; with a projected shortcut if `project`."""

    def __init__(
        self,
        width: float,
        *,
        stride: int,
        dilation: int,
        project: bool,
        seeds: random.Random,
        name: str,
    ):
        super().__init__(name=name)
        # Products are rounded down last, as the published code does for odd multipliers.
        filters, out_filters = int(width), int(4 * width)
        layer = functools.partial(ConvolutionNorm, seeds=seeds)
        self.shortcut = None
        if project:
            self.shortcut = layer(out_filters, 1, stride=stride, relu=False, name="shortcut")
        self.reduce = layer(filters, 1, name="reduce")
        self.spatial = layer(filters, 3, stride=stride, dilation=dilation, name="spatial")
        self.expand = layer(out_filters, 1, relu=False, zero_scale=True, name="expand")
        self.out_filters, self._filters = out_filters, filters

    def build(self, input_shape):
        if self.shortcut is not None:
            self.shortcut.build(input_shape)
        self.reduce.build(input_shape)
        self.spatial.build((*input_shape[:-1], self._filters))
        self.expand.build((*input_shape[:-1], self._filters))

    def call(self, x, training=False):
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        x = self.reduce(x, training=training)
        x = self.spatial(x, training=training)
        return ops.relu(self.expand(x, training=training) + shortcut)


class ResNetStem(keras.layers.Layer):
    """ResNet, dropout, a dense projection and LayerNorm.

    Args:
      config: of its `resnet_variant`, "standard" has output stride 32, "c4" lacks the fourth group
        (stride 16), "dc5" has it at stride 1, its 3x3 convolutions dilated in every block but the
        first; `resnet_width_multiplier` is a factor on all channels, `drop_units` the dropout
        before the projection to `dim_encoder`.
      seeds: where random seeds are drawn from.
    """

    recompute = NONE  # see recompute_activations

    def __init__(self, config: ModelConfig, *, seeds: random.Random):
        super().__init__(name="stem")
        variant, width_multiplier = config.resnet_variant, config.resnet_width_multiplier
        channels = int(RESNET_WIDTH * width_multiplier)
        self.first = ConvolutionNorm(channels, RESNET_KERNEL, stride=2, seeds=seeds, name="first")
        self.pool = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="pool")
        self.blocks = []
        for group, num_blocks in enumerate(_BLOCKS[config.resnet_depth]):
            if variant == "c4" and group == 3:
                break
            dilated = variant == "dc5" and group == 3
            self.blocks += [
                Bottleneck(
                    RESNET_WIDTH * 2**group * width_multiplier,
                    stride=2 if block == 0 and group > 0 and not dilated else 1,
                    dilation=2 if block > 0 and dilated else 1,
                    project=block == 0,
                    seeds=seeds,
                    name=f"group{group}_block{block}",
                )
                for block in range(num_blocks)
            ]
        self.dropout = dropout(config.drop_units, seeds)
        self.projection = dense(config.dim_encoder, seeds, "projection")
        self.norm = layer_norm("norm")
        self._dim, self._stride = config.dim_encoder, config.output_stride

    def build(self, input_shape):
        self.first.build(input_shape)
        channels = self.first.out_filters
        for block in self.blocks:
            block.build((input_shape[0], None, None, channels))
            channels = block.out_filters
        self.projection.build((input_shape[0], None, channels))
        self.norm.build((input_shape[0], None, self._dim))
        self._channels = channels

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of the map of an image of (height, width) pixels."""
        rows, columns = (-(-side // self._stride) for side in image_size)
        return rows, columns

    def call(self, images, training=False):
        """Images (B, height, width, 3) in [0, 1] to (B, rows * columns, dim)."""
        features = self.pool(self.first(images, training=training))
        for block in self.blocks:
            features = run_layer(block, features, training=training, recompute=self.recompute)
        features = ops.reshape(features, (ops.shape(features)[0], -1, self._channels))
        return self.norm(self.projection(self.dropout(features, training=training)))
