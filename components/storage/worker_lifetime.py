"""Ends a worker process of Beam's local runner when the process that started it is gone.

A launcher that is killed by SIGKILL stops no worker: they would go on writing into the output, at
the same time as the next run. Beam imports this module as it starts a worker, by the option
`BEAM_ARGUMENT`.
"""

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

BEAM_ARGUMENT = f"--beam_plugin={__name__}"
_STATUS, _SECONDS = 1, 0.5


def launcher_of_this_process() -> int:
    """The id of the process that started this one; a shell between the two does not count."""
    parent = os.getppid()
    with contextlib.suppress(OSError, ValueError):  # Where there is no /proc.
        if not Path(f"/proc/{parent}/exe").samefile(sys.executable):
            # The name of the program, in parentheses, may hold blanks and parentheses.
            fields = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
            return int(fields[1]) or parent
    return parent


def end_with(launcher: int, *, end: Callable[[int], object] = os._exit) -> threading.Thread:
    """Ends this process, in the middle of whatever it does, as soon as another one is gone.

    Args:
      launcher: id of the other process.
      end: called with the exit status.
    """

    def watch() -> None:
        _wait_for_end_of(launcher)
        end(_STATUS)

    thread = threading.Thread(target=watch, name="launcher watch", daemon=True)
    thread.start()
    return thread


def _wait_for_end_of(process: int) -> None:
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    except (OSError, AttributeError):  # Of another system, or not allowed.
        while _is_there(process):
            time.sleep(_SECONDS)
        return
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        waiting.poll()
    finally:
        os.close(handle)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if sys.argv[:1] and sys.argv[0].endswith("sdk_worker_main.py"):
    end_with(launcher_of_this_process())
