"""One trainer per work folder."""

import fcntl
import os
import platform
import time
from typing import IO

from etils import epath

from pix2seq_model.errors import CheckpointError, UserError

_NAME = "trainer.lock"
# A remote lock that was not renewed for so long is of a trainer that is gone.
_STALE_S = 30 * 60


class FolderInUseError(UserError):
    """Another trainer works in the folder."""


class FolderLock:
    """Holds a work folder while a trainer runs; a context manager.

    On a local disk the operating system's lock, which ends with the process however it ends. In a
    bucket there is none: there a file names the trainer and is renewed with every checkpoint, and
    counts as left behind after half an hour without.

    Raises (on entering):
      FolderInUseError: another trainer holds it; the message says which.
      CheckpointError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self._path = epath.Path(folder) / _NAME
        self._remote = os.fspath(folder).startswith("gs://")
        self._owner = f"process {os.getpid()} on {platform.node()}"
        self._file: IO[str] | None = None

    def __enter__(self) -> "FolderLock":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._remote:
                self._enter_remote()
            else:
                self._enter_local()
        except OSError as error:
            raise CheckpointError(
                f"The work folder {self._path.parent} cannot be written ({error}): name another "
                "folder or mend this one."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            # The file stays: removing it would let a third process lock a file of its own.
            self._file.close()
            self._file = None
        elif self._remote:
            self._path.unlink(missing_ok=True)

    def renew(self) -> None:
        """Says that the trainer is still there."""
        if self._remote:
            self._path.write_text(f"{time.time():.0f} {self._owner}")

    def _enter_local(self) -> None:
        file = open(self._path, "a+")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise FolderInUseError(self._message(owner)) from error
        file.truncate(0)
        file.write(self._owner + "\n")
        file.flush()
        self._file = file

    def _enter_remote(self) -> None:
        if self._path.exists():
            renewed_at, _, owner = self._path.read_text().partition(" ")
            if time.time() - float(renewed_at) < _STALE_S and owner != self._owner:
                raise FolderInUseError(self._message(owner))
        self.renew()

    def _message(self, owner: str) -> str:
        return (
            f"{self._path.parent} is in use by another trainer ({owner}): wait for it or stop it, "
            "or train in another work folder."
        )
