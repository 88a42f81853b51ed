"""Writes into an array inside a loop, in graphs that XLA compiles and in graphs that it does not.

Keras' `slice_update` is an operation of XLA's on TensorFlow: the right one where XLA compiles, for
it then writes in place. A graph that must do without XLA cannot have it.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

from keras import ops

_WITHOUT_XLA = contextvars.ContextVar("without_xla", default=False)


@contextlib.contextmanager
def without_xla() -> Iterator[None]:
    """Inside, `slice_update` is made of operations that need no compiler."""
    token = _WITHOUT_XLA.set(True)
    try:
        yield
    finally:
        _WITHOUT_XLA.reset(token)


def is_without_xla() -> bool:
    """Whether this is inside `without_xla`."""
    return _WITHOUT_XLA.get()


def slice_update(array: Any, start: Sequence[Any], values: Any) -> Any:
    """`array` with `values` written at `start`.

    Args:
      array: a tensor.
      start: for each axis 0, or, for one of them, a scalar tensor.
      values: as large as the array, but 1 along the axis of that scalar.
    """
    if not _WITHOUT_XLA.get():
        return ops.slice_update(array, start, values)
    (axis,) = (axis for axis, index in enumerate(start) if not isinstance(index, int))
    shape = [1] * len(start)
    shape[axis] = -1
    is_there = ops.reshape(ops.equal(ops.arange(array.shape[axis]), start[axis]), shape)
    return ops.where(is_there, values, array)
