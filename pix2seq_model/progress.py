"""What a person sees while a model trains: one live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_LIVE_INTERVAL_S = 0.2
_PLAIN_INTERVAL_S = 5.0


class ProgressLine:
    """Writes step, loss, learning rate, images/s and the time left.

    On a terminal one line is rewritten in place; elsewhere (a log file, a cloud job) a line is
    added for a log interval, but no more often than every five seconds. A context manager.
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
        self._label = label
        self._total = total_steps
        self._batch_size = batch_size
        self._stream = stream or sys.stderr
        self._messages_only = messages_only
        self._live = self._stream.isatty() and not messages_only
        self._clock = clock
        self._anchor: tuple[int, float] | None = None
        self._values: dict[str, float] = {}
        self._written_at = -float("inf")
        self._width = 0

    def start(self, step: int) -> None:
        """Starts the clock at `step`; call it after the first step, which compiles."""
        self._anchor = (step, self._clock())

    def steps_per_second(self, step: int) -> float | None:
        """Mean speed since `start`; None before there is one."""
        if self._anchor is None or step <= self._anchor[0]:
            return None
        return (step - self._anchor[0]) / max(self._clock() - self._anchor[1], 1e-9)

    def step(self, step: int) -> None:
        """Tells of a finished step: costs nothing but a look at the clock, most times."""
        if self._live and self._clock() - self._written_at >= _LIVE_INTERVAL_S:
            self._write_live(step)

    def values(self, step: int, values: dict[str, float]) -> None:
        """Tells the values of a finished log interval, `loss` and `learning_rate` among them."""
        self._values = values
        if self._messages_only:
            return
        due = self._clock() - self._written_at >= _PLAIN_INTERVAL_S or step >= self._total
        if self._live:
            self._write_live(step)
        elif due:
            self._written_at = self._clock()
            print(self._text(step), file=self._stream, flush=True)

    def message(self, text: str) -> None:
        """Writes a line of its own, above the live one."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *_: object) -> None:
        # The last live line stays.
        if self._live and self._width:
            print(file=self._stream, flush=True)
            self._width = 0

    def _write_live(self, step: int) -> None:
        self._written_at = self._clock()
        text = self._text(step)
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def _clear(self) -> None:
        if self._live and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0

    def _text(self, step: int) -> str:
        parts = [f"{self._label}  step {step:,}/{self._total:,} ({100 * step // self._total}%)"]
        if "loss" in self._values:
            parts.append(f"loss {self._values['loss']:.4f}")
        if "learning_rate" in self._values:
            parts.append(f"lr {self._values['learning_rate']:.2e}")
        speed = self.steps_per_second(step)
        if speed:
            parts.append(_speed(speed, self._batch_size))
            parts.append(f"{duration_text((self._total - step) / speed)} left")
        return "  ".join(parts)


def _speed(steps_per_second: float, batch_size: int) -> str:
    images = f"{steps_per_second * batch_size:,.3g} images/s"
    if steps_per_second >= 1:
        return f"{images}  {steps_per_second:.1f} steps/s"
    return f"{images}  {1 / steps_per_second:.1f} s/step"


def duration_text(seconds: float) -> str:
    """3 -> "0:03", 4000 -> "1:06:40", 200000 -> "2d 7h"."""
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400}d {whole % 86400 // 3600}h"
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"
