"""Errors that a user can fix: each names the file or field, the value and what to do.

The commands in `pipelines/` print a `UserError` without a traceback and exit with status 2;
any other exception is a bug in this project and keeps its traceback.
"""

import reprlib
from typing import Any

_DIGITS_OF_A_BIT = 0.30103
# More than Python writes out at once is 4,300 digits.
_MOST_BITS = 1000


class _Short(reprlib.Repr):
    """Looks at a few parts of a value, however many there are."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.maxlevel = 3
        # A text longer than all that is shown is cut there, not in its middle.
        self.maxstring = self.maxother = 2 * most

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[: self.maxstring])

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() <= _MOST_BITS:
            return repr(x)
        return f"a number of {int(x.bit_length() * _DIGITS_OF_A_BIT):,} digits"


def shown(value: Any, most: int = 80) -> str:
    """How a value of somebody else's file stands in a message: as in Python, and short.

    `f"{value!r:.80}"` writes out all of it first: gigabytes, of what refers to itself many times.

    Args:
      value: numbers, texts, lists and dictionaries of them, as YAML and JSON have them.
      most: characters, behind which it is cut.
    """
    return _Short(most).repr(value)[:most]


class UserError(ValueError):
    """Something outside this code is wrong; the message says what and how to fix it."""


class DataError(UserError):
    """Annotations, images or records that cannot be used."""


class ConfigError(UserError):
    """A setting that cannot work."""


class UnavailableError(UserError):
    """A place with data that does not answer now; the same command continues later."""


class ModelError(UserError):
    """A model folder that cannot be used."""


class CheckpointError(ModelError):
    """A checkpoint that is damaged, incomplete or of another architecture."""


class FolderInUseError(UserError):
    """Another process, a trainer or a conversion, works in the folder."""


class TrainingInterruptedError(UserError):
    """Training was asked to stop and has saved its state; the same command continues it."""


class TrainingDivergedError(UserError):
    """Too many batches had a loss or gradient that is not finite."""


class WorkerLostError(UserError):
    """The exchange with the other workers of a run broke down."""
