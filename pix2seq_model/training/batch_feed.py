"""The input of the loop: the wait for it is timed, and batches are sent on to the devices."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any


@dataclasses.dataclass
class BatchFeed:
    """Fetches one batch after the other.

    Attributes:
      batches: any iterator.
      place: brings a batch to the devices; see TrainingStep.
      clock: seconds, for tests.
      wait_s: seconds spent waiting for batches; to be set back by who reads it.
      waiting_since: on the clock, since when the next batch is waited for; None while none is.
    """

    batches: Iterator[Any]
    place: Callable[[Any], Any]
    clock: Callable[[], float] = time.monotonic
    wait_s: float = 0.0
    waiting_since: float | None = None

    def next(self) -> Any:
        """The next batch, on its way to the devices."""
        self.waiting_since = self.clock()
        batch = next(self.batches)
        self.wait_s += self.clock() - self.waiting_since
        self.waiting_since = None
        return self.place(batch)
