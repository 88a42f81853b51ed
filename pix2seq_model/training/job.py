"""What one call of `train` works on."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from etils import epath

from pix2seq_model.data.manifest import DatasetInfo
from pix2seq_model.input_pipeline.datasets import (
    training_dataset,
    training_image_ids,
    training_records,
)
from pix2seq_model.model_folder.folder import ModelInfo
from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.loggers import Loggers
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.settings import TrainingRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The arguments of `train`, and what they name.

    Attributes:
      run: what to train.
      replicas: that share the batches.
      examples_dir: examples folder.
      split: of the examples.
      data: their manifest.
      base_model_dir, base_info: model folder to start from, and what it says; None: random weights.
      model_dir: where the model goes.
      work_dir: where checkpoints go.
      progress, loggers: where the log goes.
    """

    run: TrainingRun
    replicas: Replicas
    examples_dir: str | os.PathLike
    split: str
    data: DatasetInfo
    base_model_dir: str | os.PathLike | None
    base_info: ModelInfo | None
    model_dir: str | os.PathLike
    work_dir: str | os.PathLike
    progress: ProgressLine
    loggers: Loggers

    @property
    def best_dir(self) -> str:
        return os.fspath(epath.Path(self.work_dir) / "best")

    def batches(self, *, start_step: int, damaged: Sequence[str] = ()) -> tf.data.Dataset:
        """This process' share of the batches of a run, from one of them on."""
        settings = self.run.settings
        return training_dataset(
            self.examples_dir,
            split=self.split,
            batch_size=settings.images_per_batch,
            seed=self.run.seed,
            vocabulary=self.run.vocabulary,
            image_size=settings.image_size,
            augmentation=settings.augmentation,
            sequence=settings.sequence,
            image_dtype=settings.image_dtype,
            num_hosts=self.replicas.num_processes,
            host_index=self.replicas.process_index,
            shuffle_buffer=settings.shuffle_buffer,
            drop_empty=settings.drop_empty_images,
            repeat_threshold=settings.repeat_threshold,
            start_step=start_step,
            damaged=damaged,
        )

    def records(self, batch: int) -> list[bytes]:
        """Of all processes' shares of a batch, by its number from 0."""
        return training_records(self.examples_dir, **self._order(batch))

    def image_ids(self, batch: int) -> list[str]:
        """Ids of the images of a batch, by its number from 0."""
        return training_image_ids(self.examples_dir, **self._order(batch))

    def _order(self, batch: int) -> dict[str, Any]:
        settings = self.run.settings
        return {
            "split": self.split,
            "batch_size": settings.images_per_batch,
            "seed": self.run.seed,
            "shuffle_buffer": settings.shuffle_buffer,
            "drop_empty": settings.drop_empty_images,
            "repeat_threshold": settings.repeat_threshold,
            "step": batch,
        }
