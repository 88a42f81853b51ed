"""A training step on TensorFlow: one `tf.function` that changes the variables in their place."""

from typing import Any

import tensorflow as tf
from keras import ops

from pix2seq_model.training.loss import Sums, means_of, total_weight
from pix2seq_model.training.non_finite import norm_and_finite
from pix2seq_model.training.training_model import TrainingModel


class TensorFlowStep:
    """See TrainingStep; on one device."""

    def __init__(self, model: TrainingModel, *, jit_compile: bool) -> None:
        self.model = model

        def step(batch):
            found = gradients(model, *values(model), batch, total_weight(batch))
            return update(model, *found)

        self._step = tf.function(
            step, jit_compile=jit_compile, autograph=False, reduce_retracing=True
        )
        self._has_gpu = bool(tf.config.list_logical_devices("GPU"))

    def place(self, batch: Any) -> Any:
        if not self._has_gpu:
            return tf.nest.map_structure(tf.convert_to_tensor, batch)
        with tf.device("GPU:0"):
            return tf.nest.map_structure(tf.identity, batch)

    def __call__(self, batch: Any) -> None:
        self._step(batch)

    def synchronize(self) -> None:
        pass  # The variables are the state.


def compiles(setting: str) -> bool:
    """Whether a step is compiled by XLA; by "auto" if there is an accelerator.

    On a processor XLA takes longer to compile than it gains, and larger networks run slower.
    """
    if setting == "auto":
        return any(device.device_type != "CPU" for device in tf.config.list_physical_devices())
    return setting == "on"


def values(model: TrainingModel) -> tuple[list, list, list]:
    """The values of the trainable, the state and the frozen variables, as tensors."""
    groups = (model.trainable_variables, model.state_variables, model.frozen_variables)
    weights, states, frozen = (
        [ops.convert_to_tensor(variable.value) for variable in group] for group in groups
    )
    return weights, states, frozen


def gradients(
    model: TrainingModel, weights: list, states: list, frozen: list, batch: Any, total: Any
):
    """What a batch or a share of one gives; changes nothing.

    Args:
      model: that is trained.
      weights, states, frozen: see `values`.
      batch: as the input returns it.
      total: `total_weight` of the whole batch.

    Returns:
      The gradients, the log's sums and the states afterwards. The first two are those of the
      whole batch once they are added up over its shares.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        loss, sums, states = model.forward(weights, states, batch, total=total, frozen=frozen)
    # An embedding that is only looked up has a sparse gradient; Adam moves all of it anyway.
    found = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]
    return found, sums, states


def update(model: TrainingModel, gradients: list, sums: Sums, states: list) -> list:
    """Takes a step by what `gradients` returned; returns the log's sums.

    Nobody reads them, but a function with outputs is optimised by TensorFlow in another order than
    one without: the last digits of the weights depend on it.
    """
    parts = means_of(sums)
    norm, finite = norm_and_finite(parts["loss"][0], gradients)

    def apply():
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    def skip():
        model.optimizer._iterations.assign_add(1)

    # A condition rather than a choice between old and new values: the guard costs nothing.
    tf.cond(finite, apply, skip)
    for variable, new in zip(model.state_variables, states, strict=True):
        variable.assign(tf.where(finite, new, variable.value))
    parts = {**parts, "gradient_norm": (norm, 1.0)}
    log = model.log.added([v.value for v in model.log.variables], parts, finite)
    count = model.count.added([v.value for v in model.count.variables], finite)
    variables = [*model.log.variables, *model.count.variables]
    for variable, new in zip(variables, [*log, *count], strict=True):
        variable.assign(new)
    return log
