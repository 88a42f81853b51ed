"""The guard of a training step: a batch whose loss or gradient is not finite changes no weight."""

from typing import Any

import keras
import numpy as np
from keras import ops

# How many of the latest skipped batches are remembered by number.
REMEMBERED_BATCHES = 16
_SMALL = 2**14  # numbers of a gradient that is joined with others


class SkippedCount:
    """Counts batches on the device, and remembers the latest that were skipped.

    Attributes:
      batches: int32 variable, batches seen.
      skipped: int32 variable, how many of them were not finite.
      skipped_batches: (REMEMBERED_BATCHES,) int32 variable, the numbers of the latest of them,
        -1 where there is none.
    """

    def __init__(self) -> None:
        self.batches = _counter("batches", np.int32(0))
        self.skipped = _counter("skipped", np.int32(0))
        self.skipped_batches = _counter(
            "skipped_batches", np.full(REMEMBERED_BATCHES, -1, np.int32)
        )

    @property
    def variables(self) -> list[keras.Variable]:
        return [self.batches, self.skipped, self.skipped_batches]

    @staticmethod
    def added(values: list, finite: Any) -> list:
        """The values of the variables after a batch.

        Args:
          values: before it.
          finite: bool scalar, of the batch.
        """
        batches, skipped, numbers = values
        slot = ops.cast(ops.arange(REMEMBERED_BATCHES), "int32")
        here = ops.logical_and(slot == skipped % REMEMBERED_BATCHES, ops.logical_not(finite))
        return [
            batches + 1,
            skipped + ops.cast(ops.logical_not(finite), "int32"),
            ops.where(here, batches, numbers),
        ]


def norm_and_finite(loss, gradients):
    """Global norm of the gradients, and whether it and the loss are finite.

    Most gradients are those of biases and of scales, small: they are joined and summed up at once,
    where a sum for each would be an operation of the device for each.
    """
    wide = [ops.reshape(ops.cast(gradient, "float32"), (-1,)) for gradient in gradients]
    small = [gradient for gradient in wide if gradient.shape[0] <= _SMALL]
    parts = [gradient for gradient in wide if gradient.shape[0] > _SMALL]
    if small:
        parts.append(ops.concatenate(small))
    norm = ops.sqrt(ops.sum(ops.stack([ops.sum(ops.square(part)) for part in parts])))
    return norm, ops.logical_and(ops.isfinite(norm), ops.isfinite(loss))


def _counter(name: str, value: np.ndarray | np.int32) -> keras.Variable:
    return keras.Variable(value, dtype="int32", trainable=False, name=name)
