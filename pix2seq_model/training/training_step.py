"""A training step on whichever backend and devices there are."""

from typing import Any, Protocol

import keras

from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.network.remat import recompute_activations
from pix2seq_model.training.optimizer import make_optimizer
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.settings import TrainingRun
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
      jit_compile: "on", "off" or "auto": XLA, but for TensorFlow on a machine without accelerator.
      replicas: that share its batches; this device alone if None.
    """
    if keras.backend.backend() == "jax":
        from pix2seq_model.training.jax_step import JaxStep

        return JaxStep(model, jit_compile=compiles(jit_compile))
    from pix2seq_model.training import tensorflow_step

    if replicas is None or replicas.strategy is None:
        return tensorflow_step.TensorFlowStep(model, jit_compile=compiles(jit_compile))
    from pix2seq_model.training.replicated_step import ReplicatedStep

    return ReplicatedStep(model, replicas, jit_compile=compiles(jit_compile))


def compiles(jit_compile: str) -> bool:
    """Whether the step of `make_step` is compiled by XLA."""
    if keras.backend.backend() == "jax":
        return jit_compile != "off"
    from pix2seq_model.training import tensorflow_step

    return tensorflow_step.compiles(jit_compile)


def fresh_step(run: TrainingRun, *, replicas: Replicas | None = None) -> TrainingStep:
    """The step of a run's network with freshly drawn weights; arguments as of `make_step`."""
    settings = run.settings
    network = build_model(run.model, run.vocabulary, seed=run.seed, precision=settings.precision)
    if settings.activation_checkpointing:
        recompute_activations(network)
    model = TrainingModel(
        network,
        make_optimizer(settings, network.trainable_variables),
        vocabulary=run.vocabulary,
        label_smoothing=settings.label_smoothing,
    )
    return make_step(model, jit_compile=settings.jit_compile, replicas=replicas)
