"""The loss on images that are not trained on, by teacher forcing as in training."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from pix2seq_model.data.damage import reading_errors_named
from pix2seq_model.decoding.jit import compiled
from pix2seq_model.input_pipeline.validation_batches import validation_dataset
from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.training.job import TrainingJob
from pix2seq_model.training.loss import loss_and_sums

_NAMES = ("loss", "loss_coordinates", "loss_classes", "token_accuracy")


class ValidationLoss:
    """The means of the log over the first images of the evaluation's split.

    Nothing is dropped, images are neither cropped nor changed in colour, batch norm takes its
    moving statistics; label smoothing and the noise objects are those of training, so that the
    number is comparable with its loss. It is the mean over the tokens of all these images.
    """

    def __init__(self, job: TrainingJob, network: Pix2Seq) -> None:
        """
        Args:
          job: the run.
          network: that is trained; its weights may change between calls.
        """
        run = job.run
        self._batches = validation_dataset(
            job.examples_dir,
            split=run.evaluation.split,
            vocabulary=run.vocabulary,
            image_size=run.settings.image_size,
            batch_size=min(run.evaluation.batch_size, run.settings.evaluate_images),
            num_images=run.settings.evaluate_images,
            seed=run.seed,
            sequence=run.settings.sequence,
            resize=run.evaluation.resize,
        )
        self._errors_named = functools.partial(
            reading_errors_named,
            job.examples_dir,
            run.evaluation.split,
            say=job.progress.message,
        )
        self._sums = compiled(_sums_of(job, network), network)

    def measure(self) -> dict[str, float]:
        """The means, as {"validation_loss", "validation_loss_coordinates", ...}."""
        total = np.zeros((len(_NAMES), 2))
        with self._errors_named():
            for inputs, targets, weights in self._batches.as_numpy_iterator():
                sums = self._sums(inputs["image"], inputs["tokens"], targets, weights)
                total += [[float(part), float(weight)] for part, weight in sums]
        means = total[:, 0] / np.maximum(total[:, 1], 1e-9)
        return {f"validation_{name}": float(mean) for name, mean in zip(_NAMES, means)}


def _sums_of(job: TrainingJob, network: Pix2Seq) -> Callable[..., Any]:
    run = job.run

    def sums_of(images, tokens, targets_BL, weights_BL):
        logits_BLV = network({"image": images, "tokens": tokens}, training=False)
        _, sums = loss_and_sums(
            targets_BL,
            logits_BLV,
            weights_BL,
            total=1.0,
            vocabulary=run.vocabulary,
            label_smoothing=run.settings.label_smoothing,
        )
        return [sums[name] for name in _NAMES]

    return sums_of
