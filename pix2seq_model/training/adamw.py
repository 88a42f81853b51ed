"""Keras' AdamW to the digit, with what all weights have in common computed once in a step."""

from typing import Any

import keras
from keras import ops


class AdamW(keras.optimizers.AdamW):
    """AdamW (arXiv:1711.05101).

    Keras computes the learning rate and the bias correction for each weight again. That a compiler
    takes the copies for one costs nothing in a step, but they are half of what TensorFlow traces
    of an optimizer before the first one.
    """

    _rate: Any = None  # While the weights decay: the rate of this step.

    def _get_current_learning_rate(self):
        return super()._get_current_learning_rate() if self._rate is None else self._rate

    def _apply_weight_decay(self, variables):
        self._rate = super()._get_current_learning_rate()
        try:
            super()._apply_weight_decay(variables)
        finally:
            self._rate = None

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        step = ops.cast(self.iterations + 1, "float32")
        power_1, power_2 = (
            ops.power(ops.cast(beta, "float32"), step) for beta in (self.beta_1, self.beta_2)
        )
        corrected = ops.cast(learning_rate, "float32") * ops.sqrt(1 - power_2) / (1 - power_1)
        super()._backend_update_step(grads, trainable_variables, corrected)

    def update_step(self, gradient, variable, learning_rate):
        """Moves a weight and its two moments.

        Args:
          gradient: of the loss, in the shape of the weight.
          variable: the weight.
          learning_rate: a scalar, the bias of both moments corrected.
        """
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, m * rate / (ops.sqrt(v) + self.epsilon))
