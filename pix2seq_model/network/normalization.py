"""Layer and batch normalisation that read their input once for the statistics while training.

Both take the mean and the mean square in one pass, in float32, and the variance as
mean(x**2) - mean(x)**2, as TensorFlow's synchronised batch norm does, with which the published
ResNets were trained. For y = scale * n + offset with n = (x - mean) / std, over the k numbers that
are normalised together (arXiv:1502.03167, section 3):

    dx = scale / std * (dy - sum(dy) / k - n * sum(dy * n) / k)

where for LayerNorm (arXiv:1607.06450) scale goes into the sums. Kept for it are x and the
statistics. Outside of training both are Keras' own.
"""

from typing import Any

import keras
from keras import ops

from pix2seq_model.network.custom_gradient import with_gradient


class LayerNorm(keras.layers.LayerNormalization):
    """Over the last axis, with scale and offset."""

    def call(self, inputs, training=False):
        if not training:
            return super().call(inputs)
        scale, offset = self.gamma.value, self.beta.value
        normalize = with_gradient(_LayerForward(self.epsilon, self.compute_dtype), _layer_backward)
        return normalize(inputs, scale, offset)


class BatchNorm(keras.layers.BatchNormalization):
    """Over all axes but the last, with scale and offset.

    On TensorFlow it is Keras' own, whose synchronised statistics are of one pass already.
    """

    def call(self, inputs, training=None, mask=None):
        if not training or keras.backend.backend() == "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        scale, offset = (ops.cast(v, "float32") for v in (self.gamma, self.beta))
        normalize = with_gradient(_BatchForward(self.epsilon, self.compute_dtype), _batch_backward)
        outputs, mean, variance = normalize(inputs, scale, offset)
        statistics = ((self.moving_mean, mean), (self.moving_variance, variance))
        for variable, new in statistics:
            old = ops.cast(variable, "float32")
            variable.assign(old * self.momentum + new * (1.0 - self.momentum))
        return outputs


class _LayerForward:
    def __init__(self, epsilon: float, dtype: str) -> None:
        self._epsilon, self._dtype = epsilon, dtype

    def __call__(self, x, scale, offset):
        mean, variance = _moments(x, axis=-1, keepdims=True)
        inverse = ops.rsqrt(variance + self._epsilon)
        result = _affine(x, mean, inverse, scale, offset)
        return ops.cast(result, self._dtype), (x, mean, inverse, scale)


def _layer_backward(kept: tuple, gradient: Any) -> tuple:
    x, mean, inverse, scale = kept
    gradient = ops.cast(gradient, "float32")
    normalized = (ops.cast(x, "float32") - mean) * inverse
    scaled = gradient * ops.cast(scale, "float32")
    along = ops.mean(scaled * normalized, axis=-1, keepdims=True)
    of_x = inverse * (scaled - ops.mean(scaled, axis=-1, keepdims=True) - normalized * along)
    of_scale = ops.sum(gradient * normalized, axis=_rows(x))
    of_offset = ops.sum(gradient, axis=_rows(x))
    found = zip((of_x, of_scale, of_offset), (x, scale, scale), strict=True)
    return tuple(ops.cast(part, like.dtype) for part, like in found)


class _BatchForward:
    def __init__(self, epsilon: float, dtype: str) -> None:
        self._epsilon, self._dtype = epsilon, dtype

    def __call__(self, x, scale, offset):
        mean, variance = _moments(x, axis=_rows(x), keepdims=False)
        inverse = ops.rsqrt(variance + self._epsilon)
        result = ops.cast(_affine(x, mean, inverse, scale, offset), self._dtype)
        return (result, mean, variance), (x, mean, inverse, scale)


def _batch_backward(kept: tuple, gradients: tuple) -> tuple:
    x, mean, inverse, scale = kept
    gradient = ops.cast(gradients[0], "float32")  # The moving statistics have none.
    normalized = (ops.cast(x, "float32") - mean) * inverse
    of_scale = ops.sum(gradient * normalized, axis=_rows(x))
    of_offset = ops.sum(gradient, axis=_rows(x))
    count = ops.cast(ops.prod(ops.shape(x)[:-1]), "float32")
    centred = gradient - of_offset / count - normalized * (of_scale / count)
    return ops.cast(scale * inverse * centred, x.dtype), of_scale, of_offset


def _moments(x, **axes):
    """Mean and variance from one pass over x, float32."""
    wide = ops.cast(x, "float32")
    mean = ops.mean(wide, **axes)
    variance = ops.mean(ops.square(wide), **axes) - ops.square(mean)
    return mean, ops.maximum(variance, 0.0)


def _affine(x, mean, inverse, scale, offset):
    factor = inverse * ops.cast(scale, "float32")
    return ops.cast(x, "float32") * factor + (ops.cast(offset, "float32") - mean * factor)


def _rows(x) -> list[int]:
    return list(range(len(x.shape) - 1))
