"""The log of a training run: progress line, TensorBoard and other loggers, history."""

import dataclasses
import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from etils import epath

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.model_folder.folder import HISTORY_FOLDER
from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.batch_feed import BatchFeed
from pix2seq_model.training.run_span import RunSpan
from pix2seq_model.training.training_step import TrainingStep

if TYPE_CHECKING:
    # It imports TensorFlow, which the loop on JAX does without.
    from pix2seq_model.training.loggers import Loggers


@dataclasses.dataclass
class IntervalLog:
    """Closes a log interval every few steps.

    Attributes:
      span: that is trained.
      step: what the values come from.
      feed: what the wait for the input comes from.
      every_steps: steps of a log interval.
      learning_rate: by the number of the batch, from 0.
      progress, loggers: where the log goes.
      history: a row for every interval, {"step", "learning_rate", "loss", ...}, added to those that
        are there: the same for the same seed, whatever the machine's speed.
    """

    span: RunSpan
    step: TrainingStep
    feed: BatchFeed
    every_steps: int
    learning_rate: Callable[[int], Any]
    progress: ProgressLine
    loggers: "Loggers"
    history: list[dict[str, Any]]
    _interval: tuple[int, float] | None = None

    def tick(self, batch: int) -> None:
        """After every batch; reads nothing of what was computed."""
        if self._interval is None:
            # The first batch compiles: the clock starts behind it.
            self.progress.start(self.span.step(batch))
            self._interval = (batch, time.monotonic())
            self.feed.wait_s = 0.0
        self.progress.step(self.span.step(batch))

    def write(self, batch: int) -> None:
        """Closes the interval that ends with a batch."""
        step, model = self.span.step(batch), self.step.model
        self.step.synchronize()
        # The rate that this batch was taken with.
        learning_rate = float(self.learning_rate(batch - 1))
        row = {"step": step, "learning_rate": learning_rate, **model.log.read()}
        self.history.append(row)
        self.progress.values(step, row)
        values = {**row, **self._speed(batch), "weight_norm": model.weight_norm()}
        self.loggers.scalars(step, values)
        model.log.reset()

    def _speed(self, batch: int) -> dict[str, float]:
        """Speed since the last interval; nothing right after the start."""
        assert self._interval is not None
        first, begin = self._interval
        now = time.monotonic()
        waited, self.feed.wait_s = self.feed.wait_s, 0.0
        self._interval = (batch, now)
        if batch == first:
            return {}
        seconds = max(now - begin, 1e-9)
        return {
            "images_per_second": (batch - first) * self.span.batch_size / seconds,
            "input_wait": waited / seconds,
        }


def write_history(
    model_dir: str | os.PathLike,
    stage: str,
    rows: list[dict[str, Any]],
    *,
    base_model_dir: str | os.PathLike | None,
) -> None:
    """Writes the stage's loss curve next to those of the stages before it."""
    folder = epath.Path(model_dir) / HISTORY_FOLDER
    if base_model_dir and (epath.Path(base_model_dir) / HISTORY_FOLDER).exists():
        for path in (epath.Path(base_model_dir) / HISTORY_FOLDER).iterdir():
            write_atomically(folder / path.name, path.read_text())
    write_atomically(folder / f"{stage}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
