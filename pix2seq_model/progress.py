"""What a person sees while something runs: one live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.live import Live
from rich.text import Text

from pix2seq_model.terminal import make_console, printable

_LIVE_INTERVAL_S = 0.2


class LiveLine:
    """On a terminal one line rewritten in place; elsewhere (a log file, a cloud job) lines."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        interval_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        live: bool = True,
    ) -> None:
        """
        Args:
          stream: where to write; standard error if None.
          interval_s: least time between two plain lines.
          clock: seconds.
          live: False for plain lines on a terminal too.
        """
        self._stream = stream or sys.stderr
        self.clock = clock
        self._shown_at = -float("inf")
        self._live: Live | None = None
        self._interval_s = interval_s
        if live and self._stream.isatty():
            console = make_console(self._stream, force_terminal=True, highlight=False, markup=False)
            if not console.is_dumb_terminal:
                self._interval_s = _LIVE_INTERVAL_S
                self._live = Live(
                    console=console,
                    auto_refresh=False,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )

    @property
    def is_live(self) -> bool:
        return self._live is not None

    def is_due(self) -> bool:
        """Whether the last line is old enough for another."""
        return self.clock() - self._shown_at >= self._interval_s

    def show(self, text: str) -> None:
        """Writes the line, in the place of the one before where it is live."""
        self._shown_at = self.clock()
        if self._live is None:
            print(printable(text), file=self._stream, flush=True)
        else:
            self._live.start()
            line = Text(printable(text), no_wrap=True, overflow="ellipsis")
            self._live.update(line, refresh=True)

    def message(self, text: str) -> None:
        """Writes a line of its own, above the live one."""
        if self._live is None:
            print(printable(text), file=self._stream, flush=True)
        else:
            self._live.console.print(printable(text), soft_wrap=True)

    def close(self) -> None:
        """Ends the live line, which stays."""
        if self._live is not None:
            self._live.stop()


class _Counter:
    """Says how much of a total is done; its speed is the mean since a first moment."""

    def __init__(self, label: str, total: int | None, output: LiveLine) -> None:
        self._label, self._total, self._output = label, total, output
        self._anchor: tuple[int, float] | None = None

    def start(self, done: int) -> None:
        """Starts the clock; call it after the first piece of work, which compiles."""
        self._anchor = (done, self._output.clock())

    def message(self, text: str) -> None:
        """Writes a line of its own, above the live one."""
        self._output.message(text)

    def close(self) -> None:
        """Leaves the last live line standing."""
        self._output.close()

    def _speed(self, done: int) -> float | None:
        if self._anchor is None:
            return None
        first, since = self._anchor
        seconds = self._output.clock() - since
        return (done - first) / seconds if done > first and seconds > 0 else None

    def _counted(self, done: int) -> str:
        if self._total is None or done > self._total:
            return f"{self._label}{done:,}"
        return f"{self._label}{done:,}/{self._total:,} ({100 * done // max(1, self._total)}%)"

    def _is_last(self, done: int) -> bool:
        return self._total is not None and done >= self._total

    def _time_left(self, done: int, speed: float) -> str:
        if self._total is None or done > self._total:
            return ""
        return f"{duration_text((self._total - done) / speed)} left"


class ProgressLine(_Counter):
    """Writes step, loss, learning rate, images/s and the time left of a training.

    A plain line is written for a log interval, but no more often than every five seconds.
    A context manager.
    """

    def __init__(
        self,
        label: str,
        *,
        total_steps: int,
        batch_size: int,
        messages_only: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
          label: what is being trained, in front of every line.
          total_steps: steps of the whole run.
          batch_size: images of a step.
          messages_only: leaves the line to another process.
          stream: where to write; standard error if None.
          clock: seconds, for tests.
        """
        output = LiveLine(stream, interval_s=5.0, clock=clock, live=not messages_only)
        super().__init__(f"{label}  step ", total_steps, output)
        self._batch_size, self._messages_only = batch_size, messages_only
        self._values: dict[str, float] = {}

    def step(self, step: int) -> None:
        """Tells of a finished step: costs nothing but a look at the clock, most times."""
        if self._output.is_live and self._output.is_due():
            self._output.show(self._text(step))

    def values(self, step: int, values: dict[str, float]) -> None:
        """Tells the values of a finished log interval, `loss` and `learning_rate` among them."""
        self._values = values
        if self._messages_only:
            return
        if self._output.is_live or self._output.is_due() or self._is_last(step):
            self._output.show(self._text(step))

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *_: object) -> None:
        self._output.close()

    def _text(self, step: int) -> str:
        parts = [self._counted(step)]
        if "loss" in self._values:
            parts.append(f"loss {self._values['loss']:.4f}")
        if "learning_rate" in self._values:
            parts.append(f"lr {self._values['learning_rate']:.2e}")
        if speed := self._speed(step):
            parts.append(f"{speed * self._batch_size:,.3g} images/s")
            parts.append(f"{speed:.1f} steps/s" if speed >= 1 else f"{1 / speed:.1f} s/step")
            parts.append(self._time_left(step, speed))
        return "  ".join(parts)


class DetectionProgress(_Counter):
    """Says how many images are done, how fast it goes and how long it will take."""

    def __init__(
        self,
        label: str,
        *,
        total: int | None,
        done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
          label: what is done, in front of every line.
          total: images; None where nobody knows, as of a camera. A video may have more than its
            header says: then the number goes on without a total.
          done: images finished by an earlier run.
          stream: where to write; standard error if None.
          clock: seconds, for tests.
        """
        super().__init__(f"{label}: ", total, LiveLine(stream, interval_s=10.0, clock=clock))
        self._not_shown: int | None = None
        start = f", continuing after {done:,}" if done else ""
        if total is not None:
            self.message(f"{label}: {total:,} images{start}")

    def update(self, done: int) -> None:
        """Tells that `done` images are finished."""
        if self._anchor is None:
            self.start(done)
        self._not_shown = done
        if self._output.is_due() or done == self._total:
            self._show(done)

    def close(self) -> None:
        """Shows the last number, which may be less than the total, and leaves it standing."""
        if self._not_shown is not None:
            self._show(self._not_shown, ended=True)
        super().close()

    def _show(self, done: int, *, ended: bool = False) -> None:
        self._not_shown = None
        text = self._counted(done)
        if speed := self._speed(done):
            left = "" if ended else self._time_left(done, speed)
            text += f"  {speed:,.3g} images/s  {left}".rstrip()
        self._output.show(text)


def duration_text(seconds: float) -> str:
    """3 -> "0:03", 4000 -> "1:06:40", 200000 -> "2d 7h"."""
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400}d {whole % 86400 // 3600}h"
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"
