"""Dense layers and convolutions whose products can be kept for the backward pass, and no copies.

They are Keras' layers, with their weights and their names.
"""

from typing import Any

import keras
from keras import ops

from pix2seq_model.network.remat import product


class Dense(keras.layers.Dense):
    """On the last axis, with a bias and without an activation function."""

    def call(self, inputs, training=None):
        tensors = (self.kernel.value, self.bias.value)
        return product(_linear, inputs, *tensors)

    def parts(self, inputs: Any, count: int) -> list[Any]:
        """What it gives, split into equal parts along the last axis.

        Each is a product of its own with a part of the kernel: to split the result of a single one,
        and to join its gradients, would copy activations, which are much larger than kernels.
        """
        tensors = (self.kernel.value, self.bias.value)
        split = (ops.split(tensor, count, axis=-1) for tensor in tensors)
        return [product(_linear, inputs, *part) for part in zip(*split, strict=True)]


class Conv2D(keras.layers.Conv2D):
    """Without bias and activation function."""

    def call(self, inputs):
        return product(self.convolution_op, inputs, self.kernel.value)


def _linear(x, kernel, bias):
    return ops.matmul(x, kernel) + bias
