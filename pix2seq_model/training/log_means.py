"""The means of the log: summed up on the device, and turned into numbers only for a line of it."""

from typing import Any

import keras
import numpy as np
from keras import ops

from pix2seq_model.training.loss import Sums

# In the order in which a row of the history holds them.
NAMES = (
    *("gradient_norm", "loss", "loss_classes", "loss_coordinates", "loss_noise"),
    "token_accuracy",
)


class LogMeans:
    """Running means over the batches since the last reset.

    `loss`; of the same token losses `loss_coordinates`, `loss_classes` (both of real objects) and
    `loss_noise` (the noise class); `token_accuracy`, the share of real objects' tokens that are the
    likeliest under teacher forcing; `gradient_norm`, before clipping.

    Attributes:
      variables: float32 scalars: for every name sum(w * x), then for every name sum(w).
    """

    def __init__(self) -> None:
        self.variables = [
            keras.Variable(0.0, dtype="float32", trainable=False, name=f"{name}_{sum_of}")
            for sum_of in ("total", "weight")
            for name in NAMES
        ]

    @staticmethod
    def added(values: list, parts: Sums, finite: Any) -> list:
        """The values of the variables after a batch; one that is not finite adds nothing.

        Args:
          values: of the variables before.
          parts: for each name the mean in the batch and its weight.
          finite: bool scalar.
        """
        means = [ops.where(finite, parts[name][0], 0.0) for name in NAMES]
        weights = [ops.where(finite, parts[name][1], 0.0) for name in NAMES]
        terms = [mean * weight for mean, weight in zip(means, weights, strict=True)]
        return [value + term for value, term in zip(values, [*terms, *weights], strict=True)]

    def read(self) -> dict[str, float]:
        """The means as numbers: waits for the steps before. 0 where nothing was added."""
        sums = np.stack([ops.convert_to_numpy(variable.value) for variable in self.variables])
        totals, weights = np.split(sums, 2)
        means = np.divide(totals, weights, out=np.zeros_like(totals), where=weights != 0)
        return dict(zip(NAMES, means.tolist(), strict=True))

    def reset(self) -> None:
        """Starts the means again."""
        for variable in self.variables:
            variable.assign(0.0)
