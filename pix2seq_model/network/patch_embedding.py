"""The ViT stem: an image's patches, projected and normalised."""

import random

import keras
from keras import ops

from pix2seq_model.network.transformer import glorot, layer_norm


class PatchEmbedding(keras.layers.Layer):
    """A convolution over non-overlapping patches, then LayerNorm.

    Rows and columns of pixels that do not fill a patch at the bottom and right are left out.
    """

    def __init__(self, dim: int, patch_size: int, *, seeds: random.Random, name: str = "stem"):
        super().__init__(name=name)
        self.convolution = keras.layers.Conv2D(
            dim,
            patch_size,
            strides=patch_size,
            padding="valid",
            kernel_initializer=glorot(seeds),
            name="convolution",
        )
        self.norm = layer_norm("norm")
        self._dim, self._patch_size = dim, patch_size

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.norm.build((input_shape[0], None, self._dim))

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of the map of an image of (height, width) pixels."""
        return image_size[0] // self._patch_size, image_size[1] // self._patch_size

    def call(self, images, training=False):
        """Images (B, height, width, 3) in [0, 1] to (B, rows * columns, dim)."""
        features = self.convolution(images)
        return self.norm(ops.reshape(features, (ops.shape(features)[0], -1, self._dim)))
