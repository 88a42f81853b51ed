"""What happens beside the training steps: the log, and the checkpoints.

Keras' epoch is the whole run: log intervals and checkpoints go by the number of the batch in the
run, which a run that was interrupted continues, so that its log and its checkpoints are those of a
run that was not. A step of the optimizer takes one batch or several.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras

from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.checkpoint import CheckpointFolder, synchronize, take_state
from pix2seq_model.training.interruption import StopRequest
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.tensorboard import Summaries

_SECONDS_BETWEEN_QUESTIONS = 1.0
_BATCHES_BETWEEN_QUESTIONS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSpan:
    """Where one `fit` lies in a run. Batches are counted from 1 once they are done.

    Attributes:
      steps: optimizer steps of the run.
      batches_per_step: batches whose gradients are accumulated for a step.
      batch_size: images of a batch.
      first_batch: batches done before this `fit`.
    """

    steps: int
    batches_per_step: int
    batch_size: int
    first_batch: int

    @property
    def total_batches(self) -> int:
        return self.steps * self.batches_per_step

    def batch(self, index: int) -> int:
        """Number in the run of the batch that `fit` calls `index`."""
        return self.first_batch + index + 1

    def step(self, batch: int) -> int:
        """Optimizer steps done after a batch."""
        return batch // self.batches_per_step

    def is_last(self, batch: int) -> bool:
        return batch >= self.total_batches

    def is_due(self, batch: int, every_steps: int) -> bool:
        """Whether something that happens every few steps and at the end happens after a batch."""
        return batch % (every_steps * self.batches_per_step) == 0 or self.is_last(batch)


class IntervalLog(keras.callbacks.Callback):
    """Closes a log interval every few steps: progress line, TensorBoard, history.

    Attributes:
      history: a row for every interval, {"step", "learning_rate", "loss", ...}: the same for the
        same seed, whatever the machine's speed.
    """

    def __init__(
        self,
        span: RunSpan,
        *,
        every_steps: int,
        learning_rate: Callable[[int], Any],
        progress: ProgressLine,
        summaries: Summaries,
        history: list[dict[str, Any]],
    ) -> None:
        """
        Args:
          span: of this `fit`.
          every_steps: steps of a log interval.
          learning_rate: by the number of the batch, from 0.
          progress, summaries: where the log goes.
          history: rows so far; rows are added to it.
        """
        super().__init__()
        self.history = history
        self._span, self._every_steps = span, every_steps
        self._learning_rate = learning_rate
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

    def on_train_batch_end(self, index, logs=None):
        batch = self._span.batch(index)
        if self._interval is None:
            # The first batch compiles: the clock starts behind it.
            self._progress.start(self._span.step(batch))
            self._interval = (batch, time.monotonic())
            self.model.input_wait_s = 0.0
        self._progress.step(self._span.step(batch))
        if self._span.is_due(batch, self._every_steps):
            self._close_interval(batch, logs)

    def _close_interval(self, batch: int, logs: dict) -> None:
        step = self._span.step(batch)
        values = {name: float(value) for name, value in logs.items()}
        # The rate that this batch was taken with.
        learning_rate = float(self._learning_rate(batch - 1))
        row = {"step": step, "learning_rate": learning_rate, **values}
        self.history.append(row)
        self._progress.values(step, row)
        synchronize(self.model)
        self._summaries.scalars(
            step, {**row, **self._speed(batch), "weight_norm": self.model.weight_norm()}
        )
        self.model.reset_metrics()

    def _speed(self, batch: int) -> dict[str, float]:
        """Speed since the last interval; nothing right after the start."""
        first, begin = self._interval
        now = time.monotonic()
        waited, self.model.input_wait_s = self.model.input_wait_s, 0.0
        self._interval = (batch, now)
        if batch == first:
            return {}
        seconds = max(now - begin, 1e-9)
        return {
            "images_per_second": (batch - first) * self._span.batch_size / seconds,
            "input_wait": waited / seconds,
        }


class Checkpointing(keras.callbacks.Callback):
    """Saves the state every few steps, at the end, and when asked to stop; then stops.

    Attributes:
      batch: batches of the run so far.
      stopped: whether it ended the run before its last batch.
    """

    def __init__(
        self,
        span: RunSpan,
        *,
        every_steps: int,
        every_minutes: float,
        folder: CheckpointFolder,
        stop: StopRequest,
        record: dict[str, Any],
        replicas: Replicas | None = None,
    ) -> None:
        """
        Args:
          span: of this `fit`.
          every_steps: steps between two checkpoints.
          every_minutes: minutes after which one is due even so; 0 for never.
          folder: where they go.
          stop: looked at after every batch.
          record: saved with the state; its "wall_time_s" is kept up to date.
          replicas: that train together: the chief saves, and all stop after the same batch.
        """
        super().__init__()
        self.stopped = False
        self.batch = span.first_batch
        self._span, self._every_steps, self._every_s = span, every_steps, 60 * every_minutes
        self._folder, self._stop, self._record = folder, stop, record
        self._clock = self._saved_at = time.monotonic()
        self._replicas = replicas or Replicas()
        self._asked_at, self._asked_batch, self._ask_at_batch = self._clock, self.batch, 0

    def on_train_batch_end(self, index, logs=None):
        self.batch = self._span.batch(index)
        if self._is_stop_agreed() and not self._span.is_last(self.batch):
            self.stopped = self.model.stop_training = True
        if not self._replicas.is_chief:
            return
        late = self._every_s and time.monotonic() - self._saved_at >= self._every_s
        if self.stopped or late or self._span.is_due(self.batch, self._every_steps):
            self._save()

    def _save(self) -> None:
        now = time.monotonic()
        self._record["wall_time_s"] += now - self._clock
        self._folder.save(take_state(self.model, step=self.batch, record=self._record))
        self._clock = self._saved_at = now

    def _is_stop_agreed(self) -> bool:
        """Whether any of the processes was asked to stop; they find out after the same batch.

        Asking each other waits for the step to be computed, so they do it about once a second.
        """
        received = self._stop.received is not None
        if self._replicas.num_processes == 1:
            return received
        if self.batch < self._ask_at_batch:
            return False
        now = time.monotonic()
        pace = (self.batch - self._asked_batch) / max(now - self._asked_at, 1e-3)
        pause = min(max(1, round(pace * _SECONDS_BETWEEN_QUESTIONS)), _BATCHES_BETWEEN_QUESTIONS)
        answers = self._replicas.gather([received, pause])
        self._asked_at, self._asked_batch = now, self.batch
        self._ask_at_batch = self.batch + int(answers[:, 1].min())
        return bool(answers[:, 0].any())
