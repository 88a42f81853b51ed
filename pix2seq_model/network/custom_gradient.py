"""Functions whose gradient is written down, on either backend.

What the backward pass needs is then what the formula needs, and not every step in between.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras


def with_gradient(
    forward: Callable[..., tuple[Any, Any]], backward: Callable[[Any, Any], Sequence[Any]]
) -> Callable[..., Any]:
    """A function of tensors, to be differentiated once.

    Args:
      forward: from the tensors to the result, and what is kept of it for the backward pass.
      backward: from what was kept and the gradient of the result (of each part of it, if it is a
        tuple) to the gradient of each of the tensors.
    """
    if keras.backend.backend() == "jax":
        import jax

        function = jax.custom_vjp(lambda *tensors: forward(*tensors)[0])
        function.defvjp(forward, lambda kept, gradient: tuple(backward(kept, gradient)))
        return function
    import tensorflow as tf

    @tf.custom_gradient
    def on_tensorflow(*tensors):
        result, kept = forward(*tensors)

        def gradients(*of_results):
            return backward(kept, of_results if isinstance(result, tuple) else of_results[0])

        return result, gradients

    # Values instead of variables: what is read inside needs a gradient by another way.
    return lambda *tensors: on_tensorflow(*map(tf.convert_to_tensor, tensors))
