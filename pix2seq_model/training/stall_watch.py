"""Says so when training waits for its input: a slow disk or network looks like a hang."""

import dataclasses
import threading
import time
from collections.abc import Callable

from pix2seq_model.training.batch_feed import BatchFeed


@dataclasses.dataclass
class StallWatch:
    """A thread that looks at how long the next batch is waited for; a context manager.

    The first message comes after `patience_s`, the next ones each after twice the wait.

    Attributes:
      feed: of the training.
      source: what it waits for, in words.
      say: takes the message.
      patience_s: seconds of waiting before the first message.
      clock: that of the feed.
    """

    feed: BatchFeed
    source: str
    say: Callable[[str], None]
    patience_s: float = 60.0
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._next_message_s = self.patience_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall_watch", daemon=True)

    def __enter__(self) -> "StallWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def look(self) -> None:
        """Says so if the wait has become long."""
        since = self.feed.waiting_since
        waited = 0.0 if since is None else self.clock() - since
        if waited < self.patience_s:
            self._next_message_s = self.patience_s
        elif waited >= self._next_message_s:
            self.say(
                f"training has waited {waited:.0f} s for the next batch from {self.source}: "
                "is the storage slow or out of reach? It goes on when the batch arrives; "
                "Ctrl-C twice ends it, and the same command continues from the last checkpoint."
            )
            self._next_message_s = 2 * waited

    def _watch(self) -> None:
        while not self._done.wait(min(self.patience_s / 4, 5.0)):
            self.look()
