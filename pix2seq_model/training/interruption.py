"""Stopping in good order: SIGTERM (a machine that is taken away) and Ctrl-C."""

import signal
import threading
from types import FrameType
from typing import Any


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
