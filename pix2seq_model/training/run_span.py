"""Which batches of a run are trained on, counted alike in a whole run and a continued one."""

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSpan:
    """The part of a run that one call of the loop trains. Batches are counted from 1 once done.

    Log intervals, evaluations and checkpoints go by the number of the batch in the run, so that
    those of an interrupted run are those of a run that was not. A step of the optimizer takes one
    batch or several.

    Attributes:
      steps: optimizer steps of the run.
      batches_per_step: batches whose gradients are accumulated for a step.
      batch_size: images of a batch.
      first_batch: batches done before.
    """

    steps: int
    batches_per_step: int
    batch_size: int
    first_batch: int

    @property
    def total_batches(self) -> int:
        return self.steps * self.batches_per_step

    def __iter__(self) -> Iterator[int]:
        """The numbers of the batches that are still to be trained on."""
        return iter(range(self.first_batch + 1, self.total_batches + 1))

    def step(self, batch: int) -> int:
        """Optimizer steps done after a batch."""
        return batch // self.batches_per_step

    def is_last(self, batch: int) -> bool:
        return batch >= self.total_batches

    def is_due(self, batch: int, every_steps: int) -> bool:
        """Whether something that happens every few steps and at the end happens after a batch."""
        return batch % (every_steps * self.batches_per_step) == 0 or self.is_last(batch)
