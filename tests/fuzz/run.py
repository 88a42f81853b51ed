"""Tries damaged inputs at every border until the time is up, and says how many.

    python -m tests.fuzz.run --seconds=600 [--border=zip] [--seed=1]

Ends with the input and status 1 at the first fault: an error that is none of the border's, an
answer that takes over 20 seconds, or more than 2 GB of memory for one input. The seconds are those
of the processor, so that a busy machine makes no fault; an input that waits instead of computing is
one after a minute of the clock. An input that would not end is stopped, and the process with it;
what it was lies in the file that the message names.
"""

import argparse
import contextlib
import faulthandler
import io
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.borders import BORDERS, Border
from tests.fuzz.damage import damaged

MOST_SECONDS, MOST_BYTES = 20, 2 << 30
_ROUND = 500


def memory(name: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def forget_peak() -> None:
    """Resets VmHWM."""
    Path("/proc/self/clear_refs").write_text("5")


def _limit_memory() -> None:
    """An input that asks for far more gets a MemoryError, and does not take the machine down.

    The limit is of addresses, of which libraries reserve more than they use.
    """
    most = 8 * MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


class Fuzzer:
    """Tries the inputs of a border.

    Attributes:
      tried: inputs.
      slowest: processor seconds that one took.
      largest: bytes that one took.
    """

    def __init__(
        self,
        border: Border,
        *,
        most_seconds: float = MOST_SECONDS,
        most_wait: float = 3 * MOST_SECONDS,
    ) -> None:
        """
        Args:
          border: what to try.
          most_seconds: of the processor for an input.
          most_wait: seconds of the clock, after which the process is ended.
        """
        self.border = border
        self._most_seconds, self._most_wait = most_seconds, most_wait
        self.tried, self.slowest, self.largest = 0, 0.0, 0

    def round(self, number: int, until: float) -> None:
        """Tries some hundred inputs, fewer if the time is up."""

        @seed(number)
        @settings(
            max_examples=_ROUND,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.target, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(damaged(self.border.seeds(), self.border.words))
        def try_one(data: bytes) -> None:
            if time.monotonic() < until:
                self._try(data)

        try_one()

    def _try(self, data: bytes) -> None:
        forget_peak()
        before, start = memory("VmRSS"), time.process_time()
        with (
            tempfile.TemporaryDirectory() as folder,
            _stopped_after(self._most_wait, data),
            contextlib.suppress(*self.border.accepted),
        ):
            self.border.read(data, Path(folder))
        seconds, taken = time.process_time() - start, memory("VmHWM") - before
        self.tried += 1
        self.slowest, self.largest = max(self.slowest, seconds), max(self.largest, taken)
        assert seconds < self._most_seconds, f"took {seconds:.1f} s"
        assert taken < MOST_BYTES, f"took {taken / 1e9:.1f} GB"


def _kept_input() -> Path:
    return Path(tempfile.gettempdir(), f"fuzz-input-{os.getpid()}")


@contextlib.contextmanager
def _stopped_after(seconds: float, data: bytes) -> Iterator[None]:
    """Ends this process if the block does not end, and says where it was; keeps the input."""
    # Beforehand: code in C may never give another line of Python a turn.
    kept = _kept_input()
    kept.write_bytes(data)
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
    kept.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--border", choices=sorted(BORDERS), action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    _limit_memory()
    names = arguments.border or list(BORDERS)
    fuzzers = {name: Fuzzer(BORDERS[name]) for name in names}
    until, number = time.monotonic() + arguments.seconds, arguments.seed
    print(f"seed {number}; an input that does not end is left in {_kept_input()}", flush=True)
    status = 0
    # The page says of each image what it found; where a hang is, goes to the descriptor itself.
    quiet = io.StringIO()
    while time.monotonic() < until and not status:
        for name, fuzzer in fuzzers.items():
            try:
                with contextlib.redirect_stderr(quiet):
                    fuzzer.round(number, until)
            except BaseException as fault:
                notes = getattr(fault, "__notes__", [])
                print(f"{name}, seed {number}: {fault!r}", *notes, sep="\n")
                if not isinstance(fault, Exception):
                    raise
                status = 1
                break
        number += 1
    for name, fuzzer in fuzzers.items():
        print(
            f"{name:<12} {fuzzer.tried:>9,} inputs, at most {fuzzer.slowest:.2f} s and "
            f"{fuzzer.largest / 1e6:,.0f} MB for one"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
