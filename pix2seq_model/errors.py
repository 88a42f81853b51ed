"""Errors that a user can mend: each names the file or field, the value and the remedy.

The commands in `pipelines/` print a `UserError` without a traceback and exit with status 2;
any other exception is a defect of ours and keeps its traceback.
"""


class UserError(ValueError):
    """Something outside this code is wrong; the message says what and how to mend it."""


class DataError(UserError):
    """Annotations, images or records that cannot be used."""


class ConfigError(UserError):
    """A setting that cannot work."""


class ModelError(UserError):
    """A model folder that cannot be used."""


class CheckpointError(ModelError):
    """A checkpoint that is damaged, incomplete or of another architecture."""
