"""Keeps the terminal for people: what the libraries say goes to a log file.

TensorFlow, TFX and Beam write hundreds of lines, some of them from C++ straight to file
descriptor 2. So the descriptor itself is redirected to the log file, and `sys.stderr`, where
progress and messages go, stays on the terminal.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pipelines.cli.no_secrets import blot_out
from pix2seq_model.errors import ConfigError
from pix2seq_model.terminal import printable, printable_stream

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _LogFile(logging.StreamHandler):
    """A log on a full disk lacks lines; Python's handler would show a traceback for each of them.

    Attributes:
      lost: why lines are missing; None: none is.
    """

    lost: str | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exception()
        if isinstance(error, OSError):
            self.lost = error.strerror or str(error)
        else:
            super().handleError(record)


class _Formatter(logging.Formatter):
    """Writes neither secrets nor what a terminal obeys, even if a library logs one."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(blot_out(super().format(record)))


@contextlib.contextmanager
def run_log(folder: Path, *, verbose: bool = False) -> Iterator[Path]:
    """Sends the libraries' output to a new file in `folder` while the context lasts.

    Enter it before TensorFlow is imported, which reads its settings then.

    Args:
      folder: made if absent.
      verbose: show everything on the terminal too.

    Yields:
      The log file.

    Raises:
      ConfigError: the folder cannot be written.
    """
    path = folder / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a", buffering=1)
    except OSError as error:
        raise ConfigError(
            f"pipeline root {folder.parent} cannot be written ({error.strerror}): give a folder "
            "that can, with --pipeline_root=…"
        ) from error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "2")
    handler = _LogFile(file)
    handler.setFormatter(_Formatter(_FORMAT))
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.handlers[:] = [handler]
    if verbose:
        shown = logging.StreamHandler(sys.stderr)
        shown.setFormatter(_Formatter())
        root.addHandler(shown)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    _quieten_absl()
    terminal, descriptor = sys.stderr, None
    if not verbose:
        terminal.flush()
        descriptor = os.dup(2)
        sys.stderr = printable_stream(os.fdopen(os.dup(2), "w", buffering=1, errors="replace"))
        os.dup2(file.fileno(), 2)
    try:
        yield path
        if handler.lost:  # An error of the run says the same, and more.
            print(f"warning: {path} lacks lines ({handler.lost})", file=sys.stderr)
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
        if descriptor is not None:
            sys.stderr.flush()
            sys.stderr = terminal
            os.dup2(descriptor, 2)
            os.close(descriptor)
        with contextlib.suppress(OSError):  # What a full disk did not take is tried again.
            file.close()


def _quieten_absl() -> None:
    """TFX logs through absl, which would otherwise write to the terminal by itself."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.set_stderrthreshold(absl_logging.FATAL)
    absl_logger = logging.getLogger("absl")
    absl_logger.handlers.clear()
    absl_logger.propagate = True
