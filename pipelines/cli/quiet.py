"""Keeps what libraries write straight to the terminal, from C++, off it."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from pix2seq_model.errors import UserError
from pix2seq_model.terminal import printable_stream

_SHOWN_BYTES = 4000
# They warn of each attempt that fails, some with its traceback; what comes of it is the error.
_TALKATIVE = ("apache_beam", "google.auth", "google.api_core", "urllib3")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Sends file descriptor 2 elsewhere; what Python writes to `sys.stderr` stays on the terminal.

    Of TensorFlow and CUDA no environment variable keeps the first lines back. What was held back
    is shown if the block ends with an error that is not explained.
    """
    with _errors_only(), _held_back():
        yield


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.ERROR))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    terminal, is_descriptor = sys.stderr, _descriptor_of(sys.stderr) == 2
    terminal.flush()
    with tempfile.TemporaryFile() as held_back, os.fdopen(os.dup(2), "wb", 0) as shown:
        if is_descriptor:
            sys.stderr = printable_stream(
                os.fdopen(os.dup(2), "w", buffering=1, encoding=terminal.encoding, errors="replace")
            )
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except (UserError, BrokenPipeError):
            raise
        except Exception:
            size = held_back.seek(0, os.SEEK_END)
            held_back.seek(max(0, size - _SHOWN_BYTES))
            shown.write(held_back.read())
            raise
        finally:
            os.dup2(shown.fileno(), 2)
            if is_descriptor:
                sys.stderr.close()
                sys.stderr = terminal


def _descriptor_of(stream: object) -> int | None:
    try:
        return stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
