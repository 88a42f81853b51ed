"""Steps of a network that is nothing but a table of logits."""

import keras
import numpy as np

from pix2seq_model.experiment.validation import stage_settings
from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training.optimizer import make_optimizer
from pix2seq_model.training.training_model import TrainingModel
from pix2seq_model.training.training_step import make_step
from tests.fixtures import tiny_run

VOCABULARY = Vocabulary(vocab_size=160, num_bins=32, coord_shift=120)


class Table(keras.Model):
    """A "network" whose logits are its only weight, whatever the input; times the image's mean."""

    def __init__(self, logits):
        super().__init__(name="table")
        self.table = self.add_weight(shape=logits.shape, initializer="zeros", name="table")
        self.table.assign(logits)
        self.built = True

    def call(self, inputs, training=False):
        return self.table * keras.ops.mean(inputs["image"])


def make(network, **settings):
    config = tiny_run.config(schedule="constant", warmup_steps=0, **settings)
    settings = stage_settings(config, "finetune")
    optimizer = make_optimizer(settings, network.trainable_variables)
    return make_step(
        TrainingModel(
            network, optimizer, vocabulary=VOCABULARY, label_smoothing=settings.label_smoothing
        )
    )


def train(step, batches):
    """Takes a step with each batch; returns the means of the log over them."""
    step.model.log.reset()
    for batch in batches:
        step(step.place(batch))
    step.synchronize()
    return step.model.log.read()


def batch(targets, weights, image=1.0):
    targets = np.int32(targets)
    inputs = {"image": np.full((len(targets), 2), image, np.float32), "tokens": targets}
    return inputs, targets, np.float32(weights)
