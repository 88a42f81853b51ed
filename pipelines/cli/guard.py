"""What a command says if it ends before it has begun: a package is missing, Ctrl-C while it loads.

Each command imports this first. It needs nothing but Python's standard library, and is only active
where a command is the program: who imports a command's module, as the tests do, keeps their own.
"""

import os
import signal
import sys
from types import FrameType, TracebackType

_COMMANDS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def install() -> None:
    """From here on missing packages and interruptions end the process with one message."""
    sys.excepthook = _explain
    # What is ignored, as for a command in the background, stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


def release() -> None:
    """The command has begun: it answers Ctrl-C itself."""
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupted(number: int, frame: FrameType | None) -> None:
    # At once: libraries that are half imported make other exceptions of an interruption.
    _end("interrupted; nothing was done yet", 130)


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        _end("interrupted", 130)
    if isinstance(error, BrokenPipeError):  # Whoever reads has seen enough, as `head` has.
        _end("", 141)
    package = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if isinstance(error, ModuleNotFoundError) and package:
        from pipelines.cli.outside_errors import OURS, missing_package

        if package not in OURS:
            _end(f"error: {missing_package(package)}", 2)
    sys.__excepthook__(kind, error, trace)


def _end(message: str, status: int) -> None:
    try:
        if message:
            print(message, file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(status)  # Nothing has begun that would have to be ended.


def _is_program() -> bool:
    """Whether Python was called with a file of the commands."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return file is not None and os.path.dirname(os.path.abspath(file)) == _COMMANDS


if _is_program():
    install()
