"""Stopping in good order: SIGTERM (a machine that is taken away) and Ctrl-C."""

import signal
import threading
import time
from types import FrameType
from typing import Any

from pix2seq_model.training.replicas import Replicas

_SECONDS_BETWEEN_QUESTIONS = 1.0
_BATCHES_BETWEEN_QUESTIONS = 100


class StopRequest:
    """Notes a signal to stop instead of dying of it; the training loop looks at it between steps.

    A second signal of the same kind acts as it does elsewhere. A context manager; outside the main
    thread, where Python allows no handlers, it only ever says that nothing was received.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in self._SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        signal.signal(number, self._previous[number])


class StopAgreement:
    """Whether training stops: all processes of a run find out after the same batch."""

    def __init__(self, request: StopRequest, replicas: Replicas, *, first_batch: int) -> None:
        """
        Args:
          request: looked at after every batch.
          replicas: that train together.
          first_batch: batches done before.
        """
        self._request, self._replicas = request, replicas
        self._asked_at, self._asked_batch = time.monotonic(), first_batch
        self._ask_at_batch = 0

    def is_agreed(self, batch: int) -> bool:
        """Whether any of the processes was asked to stop.

        Asking each other waits for the step to be computed, so they do it about once a second.
        """
        received = self._request.received is not None
        if self._replicas.num_processes == 1:
            return received
        if batch < self._ask_at_batch:
            return False
        now = time.monotonic()
        pace = (batch - self._asked_batch) / max(now - self._asked_at, 1e-3)
        pause = min(max(1, round(pace * _SECONDS_BETWEEN_QUESTIONS)), _BATCHES_BETWEEN_QUESTIONS)
        answers = self._replicas.gather([received, pause])
        self._asked_at, self._asked_batch = now, batch
        self._ask_at_batch = batch + int(answers[:, 1].min())
        return bool(answers[:, 0].any())
