"""Progress over images: a live line on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_LIVE_INTERVAL_S = 0.2
_PLAIN_INTERVAL_S = 10.0


class DetectionProgress:
    """Says how many images are done, how fast it goes and how long it will take."""

    def __init__(
        self,
        label: str,
        *,
        total: int,
        done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
          label: what is done, in front of every line.
          total: images.
          done: images finished by an earlier run.
          stream: where to write; standard error if None.
          clock: seconds, for tests.
        """
        self._label, self._total = label, total
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._clock = clock
        self._anchor: tuple[int, float] | None = None
        self._written_at = -float("inf")
        self._width = 0
        start = f", going on after {done:,}" if done else ""
        print(f"{label}: {total:,} images{start}", file=self._stream, flush=True)

    def update(self, done: int) -> None:
        """Tells that `done` images are finished."""
        now = self._clock()
        if self._anchor is None:
            self._anchor = (done, now)  # the first batch compiles: no measure of speed
        interval = _LIVE_INTERVAL_S if self._live else _PLAIN_INTERVAL_S
        if now - self._written_at < interval and done < self._total:
            return
        self._written_at = now
        text = self._text(done, now)
        if self._live:
            self._stream.write("\r" + text.ljust(self._width))
            self._stream.flush()
            self._width = len(text)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the last live line standing."""
        if self._live and self._width:
            print(file=self._stream, flush=True)
            self._width = 0

    def _text(self, done: int, now: float) -> str:
        text = f"{self._label}: {done:,}/{self._total:,} ({100 * done // max(1, self._total)}%)"
        first, since = self._anchor
        if done > first and now > since:
            speed = (done - first) / (now - since)
            text += f"  {speed:,.3g} images/s  {_duration((self._total - done) / speed)} left"
        return text


def _duration(seconds: float) -> str:
    """3 -> "0:03", 4000 -> "1:06:40"."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
