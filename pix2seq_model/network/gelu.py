"""The exact GELU, x * P(x) with P the normal distribution's cumulative function.

Its derivative is P(x) + x * p(x), p the density (arXiv:1606.08415, by the product rule): the
backward pass needs x alone, where automatic differentiation keeps each step on the way to it.
"""

import math
from typing import Any

from keras import ops

from pix2seq_model.network.custom_gradient import with_gradient


def gelu(x: Any, *, training: bool) -> Any:
    """Of each element; while training with the gradient from the formula."""
    return _trained(x) if training else _exact(x)


def _exact(x):
    return ops.gelu(x, approximate=False)


def _forward(x):
    return _exact(x), x


def gelu_gradient(x: Any, gradient: Any) -> Any:
    """The gradient of `x` from that of `gelu(x)`."""
    # In float32 whatever the precision: compiled, it is one pass from x and the gradient.
    wide = ops.cast(x, "float32")
    cumulative = 0.5 * (1 + ops.erf(wide * math.sqrt(0.5)))
    density = ops.exp(-0.5 * ops.square(wide)) / math.sqrt(2 * math.pi)
    found = ops.cast(gradient, "float32") * (cumulative + wide * density)
    return ops.cast(found, x.dtype)


def _backward(x, gradient):
    return (gelu_gradient(x, gradient),)


def _trained(x):
    return with_gradient(_forward, _backward)(x)
