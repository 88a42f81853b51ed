"""Batches whose loss or gradient was not finite: noted with their images, up to a limit."""

import json
import os
from collections.abc import Callable

import keras
from etils import epath

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.errors import TrainingDivergedError
from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.callbacks import RunSpan
from pix2seq_model.training.checkpoint import synchronize

FILE_NAME = "skipped_batches.json"


class SkippedBatches(keras.callbacks.Callback):
    """Looks at every log interval whether batches were skipped (by TrainedNetwork).

    The images of the skipped batches are written to `<folder>/skipped_batches.json`, as
    [{"batch": 17, "image_ids": ["42", ...]}, ...]. Their number is part of the training state.
    """

    def __init__(
        self,
        span: RunSpan,
        *,
        every_steps: int,
        limit: int,
        folder: str | os.PathLike | None,
        image_ids: Callable[[int], list[str]],
        progress: ProgressLine,
    ) -> None:
        """
        Args:
          span: of this `fit`.
          every_steps: steps between two looks.
          limit: training stops when more are skipped.
          folder: where the file goes; None in a process that leaves it to another.
          image_ids: ids of the images of a batch, by its number from 0.
          progress: told of skipped batches.
        """
        super().__init__()
        self._span, self._every_steps, self._limit = span, every_steps, limit
        self._path = None if folder is None else epath.Path(folder) / FILE_NAME
        self._image_ids, self._progress = image_ids, progress

    def on_train_begin(self, logs=None):
        self._seen = int(self.model.skipped.value)
        known = self._path is not None and self._path.exists()
        self._rows = json.loads(self._path.read_text()) if known else []
        self._rows = [row for row in self._rows if row["batch"] < self._span.first_batch]

    def on_train_batch_end(self, index, logs=None):
        batch = self._span.batch(index)
        if not self._span.is_due(batch, self._every_steps):
            return
        synchronize(self.model)
        skipped = int(self.model.skipped.value)
        if skipped > self._seen:
            self._note(batch, skipped)
            self._seen = skipped

    def _note(self, batch: int, skipped: int) -> None:
        text = (
            f"{skipped} of {batch} batches had a loss or gradient that is not finite and were "
            f"skipped; their images are listed in {self._path or FILE_NAME}"
        )
        if self._path is not None:
            self._list_images()
        if skipped > self._limit:
            raise TrainingDivergedError(
                f"{text}. That is more than max_skipped_batches={self._limit}: look at these "
                "images, lower learning_rate or set clip_norm, and train in a new work folder."
            )
        self._progress.message(f"{text}.")

    def _list_images(self) -> None:
        numbers = sorted(keras.ops.convert_to_numpy(self.model.skipped_batches.value).tolist())
        noted = {row["batch"] for row in self._rows}
        new = [number for number in numbers if number >= 0 and number not in noted]
        self._rows += [{"batch": n, "image_ids": self._image_ids(n)} for n in new]
        write_atomically(self._path, json.dumps(self._rows, indent=1) + "\n")
