"""When a run's state is saved."""

import time
from typing import Any

from pix2seq_model.training.checkpoint import CheckpointFolder, take_state
from pix2seq_model.training.run_span import RunSpan
from pix2seq_model.training.training_step import TrainingStep


class PeriodicCheckpoints:
    """Saves the state every few steps or minutes, and at the end."""

    def __init__(
        self,
        span: RunSpan,
        step: TrainingStep,
        *,
        every_steps: int,
        every_minutes: float,
        folder: CheckpointFolder | None,
        record: dict[str, Any],
    ) -> None:
        """
        Args:
          span: that is trained.
          step: whose state is saved.
          every_steps: steps between two checkpoints.
          every_minutes: minutes after which one is due even so; 0 for never.
          folder: where they go; None in a process that leaves it to another.
          record: saved with the state; its "wall_time_s" is kept up to date.
        """
        self._span, self._step = span, step
        self._every_steps, self._every_s = every_steps, 60 * every_minutes
        self._folder, self._record = folder, record
        self._saved_at = time.monotonic()

    def is_due(self, batch: int) -> bool:
        late = self._every_s and time.monotonic() - self._saved_at >= self._every_s
        return bool(late) or self._span.is_due(batch, self._every_steps)

    def save(self, batch: int) -> None:
        """Saves the state after a batch."""
        if self._folder is None:
            return
        now = time.monotonic()
        self._record["wall_time_s"] += now - self._saved_at
        self._step.synchronize()
        self._folder.save(take_state(self._step.model, step=batch, record=self._record))
        self._saved_at = now
