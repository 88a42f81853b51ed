"""What happens beside the training steps: the log, and the checkpoints.

Keras' epoch is the whole run: log intervals and checkpoints go by the number of the batch in the
run, which a run that was interrupted continues, so that its log and its checkpoints are those of a
run that was not. A step of the optimizer takes one batch or several.
"""

import time
from typing import Any

import keras

from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.interruption import StopRequest
from pix2seq_model.progress import ProgressLine
from pix2seq_model.summaries import Summaries
from pix2seq_model.training_state import CheckpointFolder, synchronize, take_state


class IntervalLog(keras.callbacks.Callback):
    """Closes a log interval every few steps: progress line, TensorBoard, history.

    Attributes:
      history: a row for every interval, {"step", "learning_rate", "loss", ...}: the same for the
        same seed, whatever the machine's speed.
    """

    def __init__(
        self,
        *,
        first_batch: int,
        total_batches: int,
        every_batches: int,
        batches_per_step: int,
        batch_size: int,
        progress: ProgressLine,
        summaries: Summaries,
        history: list[dict[str, Any]],
    ) -> None:
        """
        Args:
          first_batch: batches before this `fit`.
          total_batches: batches of the run.
          every_batches: batches of a log interval.
          batches_per_step: batches of an optimizer step.
          batch_size: images of a batch.
          progress, summaries: where the log goes.
          history: rows so far; rows are added to it.
        """
        super().__init__()
        self.history = history
        self._first_batch, self._total_batches = first_batch, total_batches
        self._every_batches, self._batches_per_step = every_batches, batches_per_step
        self._batch_size = batch_size
        self._progress, self._summaries = progress, summaries
        self._interval: tuple[int, float] | None = None

    def on_train_begin(self, logs=None):
        # `fit` resets the running means when it starts; an interval may be under way.
        self._means = [
            keras.ops.convert_to_numpy(variable) for variable in self.model.metrics_variables
        ]

    def on_epoch_begin(self, epoch, logs=None):
        for variable, value in zip(self.model.metrics_variables, self._means, strict=True):
            variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        batch = self._first_batch + batch + 1
        step = batch // self._batches_per_step
        if self._interval is None:
            # The first batch compiles: the clock starts behind it.
            self._progress.start(step)
            self._interval = (batch, time.monotonic())
        self._progress.step(step)
        if batch % self._every_batches == 0 or batch == self._total_batches:
            self._close_interval(batch, step, logs)

    def _close_interval(self, batch: int, step: int, logs: dict) -> None:
        values = {name: float(value) for name, value in logs.items()}
        # The rate that the last batch was taken with.
        learning_rate = float(self.model.optimizer._learning_rate(batch - 1))
        row = {"step": step, "learning_rate": learning_rate, **values}
        self.history.append(row)
        self._progress.values(step, row)
        first, begin_time = self._interval
        now = time.monotonic()
        speed = {}
        if batch > first:
            images = (batch - first) * self._batch_size
            speed["images_per_second"] = images / max(now - begin_time, 1e-9)
        self._interval = (batch, now)
        self._summaries.scalars(step, {**row, **speed})
        synchronize(self.model)
        self.model.reset_metrics()


class Checkpointing(keras.callbacks.Callback):
    """Saves the state every few batches, at the end, and when asked to stop; then stops.

    Attributes:
      batch: batches of the run so far.
      stopped: whether it ended the run before its last batch.
    """

    def __init__(
        self,
        *,
        first_batch: int,
        total_batches: int,
        every_batches: int,
        every_minutes: float,
        folder: CheckpointFolder,
        stop: StopRequest,
        record: dict[str, Any],
        lock: FolderLock,
    ) -> None:
        """
        Args:
          first_batch: batches before this `fit`.
          total_batches: batches of the run.
          every_batches: batches between two checkpoints.
          every_minutes: minutes after which one is due even so; 0 for never.
          folder: where they go.
          stop: looked at after every batch.
          record: saved with the state; its "wall_time_s" is kept up to date.
          lock: of the work folder; renewed with every checkpoint.
        """
        super().__init__()
        self.stopped = False
        self.batch = first_batch
        self._first_batch, self._total_batches = first_batch, total_batches
        self._every_batches, self._every_s = every_batches, 60 * every_minutes
        self._folder, self._stop, self._record, self._lock = folder, stop, record, lock
        self._clock = self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.batch = self._first_batch + batch + 1
        late = self._every_s and time.monotonic() - self._saved_at >= self._every_s
        last = self.batch >= self._total_batches
        if self._stop.received and not last:
            self.stopped = self.model.stop_training = True
        if self.stopped or last or late or self.batch % self._every_batches == 0:
            self._save()

    def _save(self) -> None:
        now = time.monotonic()
        self._record["wall_time_s"] += now - self._clock
        self._folder.save(take_state(self.model, step=self.batch, record=self._record))
        self._clock = self._saved_at = now
        self._lock.renew()
