"""A training step on JAX: one compiled function from state to state, the state donated to it.

With a `keras.distribution` in force the compiler shares the step out over the devices.
"""

from typing import Any

import jax
import keras
from keras import ops

from pix2seq_model.training.loss import means_of, total_weight
from pix2seq_model.training.non_finite import norm_and_finite
from pix2seq_model.training.training_model import TrainingModel

# The values of the trainable, state, optimizer, log and count variables, in this order.
State = list[list[jax.Array]]


class JaxStep:
    """See TrainingStep. Between two calls of `synchronize` the variables hold nothing to read."""

    def __init__(self, model: TrainingModel) -> None:
        self.model = model
        self._variables = [
            model.trainable_variables,
            model.state_variables,
            model.optimizer.variables,
            model.log.variables,
            model.count.variables,
        ]
        self._state: State | None = None
        shardings = None
        if keras.distribution.distribution() is not None:
            shardings = [[v.value.sharding for v in group] for group in self._variables]
        self._step = jax.jit(self._next_state, donate_argnums=0, out_shardings=shardings)

    def place(self, batch: Any) -> Any:
        distribution = keras.distribution.distribution()
        if distribution is None:
            return jax.device_put(batch)
        # The processes hold different parts of the whole batch.
        return jax.tree.map(
            lambda part: jax.make_array_from_process_local_data(
                distribution.get_data_layout(part.shape).backend_layout, part
            ),
            batch,
        )

    def __call__(self, batch: Any) -> None:
        if self._state is None:
            self._state = [[variable.value for variable in group] for group in self._variables]
        frozen = [variable.value for variable in self.model.frozen_variables]
        self._state = self._step(self._state, batch, frozen)

    def synchronize(self) -> None:
        if self._state is None:
            return
        for variables, values in zip(self._variables, self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._state = None

    def _next_state(self, state: State, batch: Any, frozen: list[jax.Array]) -> State:
        weights, states, optimizer, log, count = state
        total = total_weight(batch)

        def loss_of(weights):
            loss, sums, changed = self.model.forward(
                weights, states, batch, total=total, frozen=frozen
            )
            return loss, (sums, changed)

        (loss, (sums, changed)), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
        norm, finite = norm_and_finite(loss, gradients)
        new_weights, new_optimizer = self.model.optimizer.stateless_apply(
            optimizer, gradients, weights
        )

        def unless_skipped(new, old):
            return [ops.where(finite, a, b) for a, b in zip(new, old, strict=True)]

        kept_optimizer = unless_skipped(new_optimizer, optimizer)
        # Skipped batches are counted.
        variables = self.model.optimizer.variables
        iteration = variables.index(self.model.optimizer._iterations)
        kept_optimizer[iteration] = new_optimizer[iteration]
        parts = {**means_of(sums), "gradient_norm": (norm, 1.0)}
        return [
            unless_skipped(new_weights, weights),
            unless_skipped(changed, states),
            kept_optimizer,
            self.model.log.added(log, parts, finite),
            self.model.count.added(count, finite),
        ]
