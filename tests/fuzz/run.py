"""Tries damaged inputs at every border until the time is up, and says how many.

    python -m tests.fuzz.run --seconds=600 [--border=zip] [--seed=1]

Ends with the input and status 1 at the first fault: an error that is none of the border's, an
answer that takes over 20 seconds, or more than 2 GB of memory for one input.
"""

import argparse
import contextlib
import faulthandler
import io
import logging
import sys
import tempfile
import time
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
    """Starts VmHWM anew."""
    Path("/proc/self/clear_refs").write_text("5")


class Fuzzer:
    """Attributes: tried, inputs; slowest, seconds; largest, bytes that one input took."""

    def __init__(self, border: Border) -> None:
        self.border = border
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
        @given(damaged(self.border.wholes(), self.border.words))
        def try_one(data: bytes) -> None:
            if time.monotonic() < until:
                self._try(data)

        try_one()

    def _try(self, data: bytes) -> None:
        forget_peak()
        before, start = memory("VmRSS"), time.monotonic()
        # Code in C is not interrupted by a signal: this ends the process, and says where it was.
        faulthandler.dump_traceback_later(3 * MOST_SECONDS, exit=True, file=sys.__stderr__)
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(*self.border.accepted):
            self.border.read(data, Path(folder))
        faulthandler.cancel_dump_traceback_later()
        seconds, taken = time.monotonic() - start, memory("VmHWM") - before
        self.tried += 1
        self.slowest, self.largest = max(self.slowest, seconds), max(self.largest, taken)
        assert seconds < MOST_SECONDS, f"took {seconds:.0f} s"
        assert taken < MOST_BYTES, f"took {taken / 1e9:.1f} GB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--border", choices=sorted(BORDERS), action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = arguments.border or list(BORDERS)
    fuzzers = {name: Fuzzer(BORDERS[name]) for name in names}
    until, number = time.monotonic() + arguments.seconds, arguments.seed
    print(f"seed {number}", flush=True)
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
