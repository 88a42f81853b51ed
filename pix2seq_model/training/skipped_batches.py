"""Batches whose loss or gradient was not finite: noted with their images, up to a limit."""

import dataclasses
import os
from collections.abc import Callable

from etils import epath
from keras import ops

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import TrainingDivergedError
from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.notes import read_rows
from pix2seq_model.training.training_step import TrainingStep

FILE_NAME = "skipped_batches.json"


@dataclasses.dataclass
class SkippedBatches:
    """Looks at every log interval whether batches were skipped by the step.

    The images of the skipped batches are written to `<folder>/skipped_batches.json`, as
    [{"batch": 17, "image_ids": ["42", ...]}, ...]. Their number is part of the training state.

    Attributes:
      step: that skips them.
      first_batch: batches done before.
      limit: training stops when more are skipped.
      folder: where the file goes; None in a process that leaves it to another.
      image_ids: ids of the images of a batch, by its number from 0.
      progress: told of skipped batches.
    """

    step: TrainingStep
    first_batch: int
    limit: int
    folder: str | os.PathLike | None
    image_ids: Callable[[int], list[str]]
    progress: ProgressLine

    def __post_init__(self) -> None:
        self._path = None if self.folder is None else epath.Path(self.folder) / FILE_NAME
        self._seen = int(self.step.model.count.skipped.value)
        rows = read_rows(self._path, keys={"batch": int}, say=self.progress.message)
        self._rows = [row for row in rows if row["batch"] < self.first_batch]

    def check(self, batch: int) -> None:
        """Notes what was skipped since the last look, after a batch.

        Raises:
          TrainingDivergedError: more than the limit.
        """
        self.step.synchronize()
        skipped = int(self.step.model.count.skipped.value)
        if skipped <= self._seen:
            return
        self._seen = skipped
        text = (
            f"{skipped} of {batch} batches had a loss or gradient that is not finite and were "
            f"skipped; their images are listed in {self._path or FILE_NAME}"
        )
        if self._path is not None:
            self._list_images(self._path)
        if skipped > self.limit:
            raise TrainingDivergedError(
                f"{text}. That is more than max_skipped_batches={self.limit}: look at these "
                "images, lower learning_rate or set clip_norm, and train in a new work folder."
            )
        self.progress.message(f"{text}.")

    def _list_images(self, path: epath.Path) -> None:
        numbers = ops.convert_to_numpy(self.step.model.count.skipped_batches.value).tolist()
        noted = {row["batch"] for row in self._rows}
        new = [number for number in sorted(numbers) if number >= 0 and number not in noted]
        self._rows += [{"batch": n, "image_ids": self.image_ids(n)} for n in new]
        write_json(path, self._rows, indent=1)
