"""A network together with what trains it: the loss, the optimizer, the sums of the log."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.network.remat import recompute_activations
from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training.log_means import LogMeans
from pix2seq_model.training.loss import loss_and_sums
from pix2seq_model.training.non_finite import SkippedCount
from pix2seq_model.training.optimizer import make_optimizer
from pix2seq_model.training.settings import BACKBONE, ENCODER, NOTHING, TrainingRun


def image_floats(images):
    """Images as they travel, uint8 or float, as the network takes them: float, in [0, 1]."""
    if keras.backend.standardize_dtype(images.dtype) != "uint8":
        return images
    return ops.cast(images, "float32") / 255.0


class TrainingModel:
    """All variables that training changes, and the functions that a step is made of.

    Attributes:
      network: the network itself, whose weights are saved.
      optimizer: built for its trainable variables.
      log: the running means of the log.
      count: of the batches, and of those that were skipped.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        vocabulary: Vocabulary,
        label_smoothing: float = 0.0,
        frozen: Sequence[keras.layers.Layer] = (),
    ) -> None:
        """
        Args:
          network: to train; built.
          optimizer: that trains it; built here if it is not.
          vocabulary: the token ids.
          label_smoothing: see `token_losses`.
          frozen: layers of the network that are not trainable as a whole.
        """
        self._frozen = frozen
        self.network, self.optimizer = network, optimizer
        self._loss_and_sums = functools.partial(
            loss_and_sums, vocabulary=vocabulary, label_smoothing=label_smoothing
        )
        self.log, self.count = LogMeans(), SkippedCount()
        if not optimizer.built:
            optimizer.build(network.trainable_variables)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        return self.network.trainable_variables

    @functools.cached_property
    def frozen_variables(self) -> list[keras.Variable]:
        """All of the layers that are frozen, which nothing changes."""
        return [variable for layer in self._frozen for variable in layer.variables]

    @functools.cached_property
    def state_variables(self) -> list[keras.Variable]:
        """What else of the network a forward pass changes: batch statistics, random generators."""
        frozen = {id(variable) for variable in self.frozen_variables}
        return [v for v in self.network.non_trainable_variables if id(v) not in frozen]

    @property
    def variables(self) -> list[keras.Variable]:
        """All but the optimizer's and the log's."""
        return [*self.count.variables, *self.network.variables]

    @property
    def metrics_variables(self) -> list[keras.Variable]:
        return self.log.variables

    def forward(
        self,
        weights: list,
        states: list,
        batch: tuple,
        *,
        total: Any,
        frozen: list | None = None,
    ):
        """Changes nothing: computes from values of the variables.

        Args:
          weights, states: of the trainable and of the state variables.
          batch: as the input returns it.
          total: `total_weight` of the whole batch.
          frozen: of the frozen variables; what these hold if None.

        Returns:
          The loss, the sums of the log, and the states afterwards.
        """
        inputs, targets_BL, weights_BL = batch
        mapping = [
            *zip(self.trainable_variables, weights, strict=True),
            *zip(self.state_variables, states, strict=True),
        ]
        if frozen is not None:
            mapping += zip(self.frozen_variables, frozen, strict=True)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            images = image_floats(inputs["image"])
            logits_BLV = self.network({**inputs, "image": images}, training=True)
        states = [scope.get_current_value(variable) for variable in self.state_variables]
        loss, sums = self._loss_and_sums(targets_BL, logits_BLV, weights_BL, total=total)
        return loss, sums, states

    def weight_norm(self) -> float:
        """Global norm of the trainable weights; waits for the steps before."""
        squares = [ops.sum(ops.square(variable)) for variable in self.trainable_variables]
        return float(ops.sqrt(ops.sum(ops.stack(squares))))


def fresh_training_model(run: TrainingRun) -> TrainingModel:
    """A network with freshly drawn weights, and what trains it as a stage says."""
    settings = run.settings
    network = build_model(run.model, run.vocabulary, seed=run.seed, precision=settings.precision)
    recompute_activations(network, settings.activation_checkpointing)
    frozen = frozen_layers(network, settings.freeze)
    for layer in frozen:
        # Before the optimizer is made: it neither holds a state for these weights nor decays them.
        layer.trainable = False
    return TrainingModel(
        network,
        make_optimizer(settings, network.trainable_variables),
        vocabulary=run.vocabulary,
        label_smoothing=settings.label_smoothing,
        frozen=frozen,
    )


def frozen_layers(network: Pix2Seq, freeze: str) -> list[keras.layers.Layer]:
    """The layers of a network that a setting of `StageSettings.freeze` names."""
    named = {NOTHING: [], BACKBONE: [network.encoder.stem], ENCODER: [network.encoder]}
    return named[freeze]
