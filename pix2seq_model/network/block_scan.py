"""A computation block by block, one after the other, so that one block's values live at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import keras


def scan(
    block: Callable[[Any, Any], tuple[Any, Any]],
    carry: tuple,
    inputs: tuple,
    *,
    dtypes: Sequence[Any],
) -> tuple[Any, Any]:
    """`carry, outputs = block(carry, inputs)` for each block in turn: the last carry, all outputs.

    Args:
      block: the function; its outputs are a tuple.
      carry: tuple, of what goes from one block to the next.
      inputs: tuple, each with the blocks as its first axis.
      dtypes: of the outputs.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.scan(block, carry, inputs)
    import tensorflow as tf

    count = inputs[0].shape[0]

    def body(number, carry, arrays):
        carry, outputs = block(carry, [part[number] for part in inputs])
        written = [a.write(number, output) for a, output in zip(arrays, outputs, strict=True)]
        return number + 1, carry, written

    arrays = [tf.TensorArray(dtype, size=count) for dtype in dtypes]
    # One block after the other: those that run at the same time each have their logits.
    _, carry, arrays = tf.while_loop(
        lambda number, *_: number < count,
        body,
        (0, carry, arrays),
        parallel_iterations=1,
        maximum_iterations=count,
    )
    return carry, tuple(array.stack() for array in arrays)
