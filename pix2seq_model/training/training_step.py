"""A training step on whichever backend and devices there are."""

from typing import Any, Protocol

import keras

from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.training_model import TrainingModel


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

    compiles = tensorflow_step.compiles(jit_compile)
    if replicas is None or replicas.strategy is None:
        return tensorflow_step.TensorFlowStep(model, jit_compile=compiles)
    from pix2seq_model.training.replicated_step import ReplicatedStep

    return ReplicatedStep(model, replicas, jit_compile=compiles)
