"""The input of the loop: the wait for it is timed, and batches are sent on to the devices."""

import time
from collections.abc import Callable, Iterator
from typing import Any


class BatchFeed:
    """Fetches one batch after the other.

    Attributes:
      wait_s: seconds spent waiting for batches; to be set back by who reads it.
      waiting_since: on the clock, since when the next batch is waited for; None while none is.
    """

    def __init__(
        self,
        batches: Iterator[Any],
        *,
        place: Callable[[Any], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
          batches: any iterator.
          place: brings a batch to the devices; see TrainingStep.
          clock: seconds, for tests.
        """
        self._batches, self._place, self._clock = batches, place, clock
        self.wait_s = 0.0
        self.waiting_since: float | None = None

    def next(self) -> Any:
        """The next batch, on its way to the devices."""
        self.waiting_since = self._clock()
        batch = next(self._batches)
        self.wait_s += self._clock() - self.waiting_since
        self.waiting_since = None
        return self._place(batch)
