"""When a run's state is saved."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from pix2seq_model.training.checkpoint import CheckpointFolder, take_state
from pix2seq_model.training.run_span import RunSpan
from pix2seq_model.training.training_step import TrainingStep


@dataclasses.dataclass
class PeriodicCheckpoints:
    """Saves the state every few steps or minutes, and at the end.

    Attributes:
      span: that is trained.
      step: whose state is saved.
      every_steps: steps between two checkpoints.
      every_minutes: minutes after which one is due even so; 0 for never.
      folder: where they go; None in a process that leaves it to another.
      record: saved with the state; its "wall_time_s" is kept up to date.
      check: called before each is written; raises if another trainer has taken over.
    """

    span: RunSpan
    step: TrainingStep
    every_steps: int
    every_minutes: float
    folder: CheckpointFolder | None
    record: dict[str, Any]
    check: Callable[[], None] = lambda: None
    _saved_at: float = dataclasses.field(default_factory=time.monotonic)

    def is_due(self, batch: int) -> bool:
        every_s = 60 * self.every_minutes
        late = every_s and time.monotonic() - self._saved_at >= every_s
        return bool(late) or self.span.is_due(batch, self.every_steps)

    def save(self, batch: int) -> None:
        """Saves the state after a batch."""
        if self.folder is None:
            return
        now = time.monotonic()
        self.record["wall_time_s"] += now - self._saved_at
        self.step.synchronize()
        self.check()
        self.folder.save(take_state(self.step.model, step=batch, record=self.record))
        self._saved_at = now
