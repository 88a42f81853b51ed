"""Says so when training waits for its input: a slow disk or network looks like a hang."""

import threading
import time
from collections.abc import Callable

from pix2seq_model.training.training_model import TrainedNetwork


class StallWatch:
    """A thread that looks at how long a model has waited for its next batch; a context manager.

    The first message comes after `patience_s`, the next ones each after twice the wait.
    """

    def __init__(
        self,
        model: TrainedNetwork,
        source: str,
        *,
        say: Callable[[str], None],
        patience_s: float = 60.0,
    ) -> None:
        """
        Args:
          model: that is trained.
          source: what it waits for, in words.
          say: takes the message.
          patience_s: seconds of waiting before the first message.
        """
        self._model, self._source, self._say = model, source, say
        self._patience_s = patience_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall_watch", daemon=True)

    def __enter__(self) -> "StallWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        patience = self._patience_s
        while not self._done.wait(min(self._patience_s / 4, 5.0)):
            since = self._model.waiting_since
            waited = 0.0 if since is None else time.monotonic() - since
            if waited < self._patience_s:
                patience = self._patience_s
            elif waited >= patience:
                self._say(
                    f"training has waited {waited:.0f} s for the next batch from {self._source}: "
                    "is the storage slow or out of reach? It goes on when the batch arrives; "
                    "Ctrl-C twice ends it, and the same command continues from the last checkpoint."
                )
                patience = 2 * waited
