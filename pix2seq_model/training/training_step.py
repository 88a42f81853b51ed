"""A training step on whichever backend and devices there are."""

from typing import Any, Protocol

import keras

from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.training_model import TrainingModel, fresh_training_model


class TrainingStep(Protocol):
    """Takes a step with a batch; what it computes stays on the devices.

    Attributes:
      model: that is trained.
    """

    model: TrainingModel

    def place(self, batch: Any) -> Any:
        """Starts to bring a batch to the devices."""

    def __call__(self, batch: Any) -> None:
        """Takes a step with a batch that was placed; may return before it is computed."""

    def synchronize(self) -> None:
        """Brings the state of the training into the model's variables, to be read or changed."""


def make_step(
    model: TrainingModel, *, jit_compile: str = "auto", replicas: Replicas | None = None
) -> TrainingStep:
    """The step of the backend that Keras uses.

    Args:
      model: to train.
      jit_compile: of TensorFlow, with XLA ("on"), without ("off"), or with it if there is an
        accelerator ("auto"). JAX always compiles.
      replicas: that share its batches; this device alone if None.
    """
    if keras.backend.backend() == "jax":
        from pix2seq_model.training.jax_step import JaxStep

        return JaxStep(model)
    from pix2seq_model.training import tensorflow_step

    if replicas is None or replicas.strategy is None:
        return tensorflow_step.TensorFlowStep(model, jit_compile=compiles(jit_compile))
    from pix2seq_model.training.replicated_step import ReplicatedStep

    return ReplicatedStep(model, replicas, jit_compile=compiles(jit_compile))


def compiles(jit_compile: str) -> bool:
    """Whether the step of `make_step` is compiled by XLA."""
    if keras.backend.backend() == "jax":
        return True
    from pix2seq_model.training import tensorflow_step

    return tensorflow_step.compiles(jit_compile)


def fresh_step(run: TrainingRun, *, replicas: Replicas | None = None) -> TrainingStep:
    """The step of a run's network with freshly drawn weights; arguments as of `make_step`."""
    model = fresh_training_model(run)
    return make_step(model, jit_compile=run.settings.jit_compile, replicas=replicas)
