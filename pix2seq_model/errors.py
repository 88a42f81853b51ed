"""Errors that a user can fix: each names the file or field, the value and what to do.

The commands in `pipelines/` print a `UserError` without a traceback and exit with status 2;
any other exception is a bug in this project and keeps its traceback.
"""


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
