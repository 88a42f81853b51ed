"""One trainer per work folder."""

import fcntl
import os
import platform
import sys
import threading
import time
import uuid
from typing import IO

from etils import epath

from pix2seq_model.errors import CheckpointError, FolderInUseError

_NAME = "trainer.lock"
RENEW_EVERY_S = 30.0
# A remote lock that is not renewed for so long is of a trainer that is gone.
LEFT_BEHIND_S = 150.0
# Two that take a lock left behind at the same moment: the one that wrote last has it.
_SETTLED_S = 1.0


class FolderLock:
    """Holds a work folder while a trainer runs; a context manager.

    On a local disk the operating system's lock, which ends with the process however it ends. In a
    bucket there is none: there a file names the trainer, which renews it all the time. Whoever
    finds one watches it for some minutes: one that is not renewed was left behind by a trainer
    that is gone, as those on spot machines are, and is taken over.

    Raises (on entering):
      FolderInUseError: another trainer holds it; the message says which.
      CheckpointError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self._path = epath.Path(folder) / _NAME
        self._remote = os.fspath(folder).startswith("gs://")
        self._owner = f"process {os.getpid()} on {platform.node()}"
        self._file: IO[str] | None = None
        self._left = threading.Event()
        self._renewing: threading.Thread | None = None

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
                "folder or fix this one."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            # The file stays: removing it would let a third process lock a file of its own.
            self._file.close()
            self._file = None
        elif self._renewing is not None:
            self._left.set()
            self._renewing.join()
            self._renewing = None
            self._path.unlink(missing_ok=True)

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
        if found := self._text():
            self._wait_for_renewal(found)
        ours = self._renew()
        if found:
            time.sleep(_SETTLED_S)
            if (now := self._text()) != ours:
                raise FolderInUseError(self._message(now.partition(" ")[2]))
        self._left.clear()
        self._renewing = threading.Thread(target=self._keep_renewing, daemon=True)
        self._renewing.start()

    def _wait_for_renewal(self, found: str) -> None:
        """Returns once a lock counts as left behind, or is gone."""
        owner = found.partition(" ")[2]
        print(
            f"{self._path.parent} was in use by {owner}; seeing for {LEFT_BEHIND_S:.0f} s whether "
            "it is still there ...",
            file=sys.stderr,
            flush=True,
        )
        deadline = time.monotonic() + LEFT_BEHIND_S
        while time.monotonic() < deadline:
            time.sleep(min(RENEW_EVERY_S, 5.0))
            now = self._text()
            if not now:
                return
            if now != found:
                raise FolderInUseError(self._message(owner))

    def _keep_renewing(self) -> None:
        while not self._left.wait(RENEW_EVERY_S):
            try:
                self._renew()
            except OSError as error:  # The next one may do; training does not end for it.
                print(f"{self._path} was not renewed: {error}", file=sys.stderr, flush=True)

    def _renew(self) -> str:
        text = f"{uuid.uuid4().hex} {self._owner}"
        self._path.write_text(text)
        return text

    def _text(self) -> str:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""

    def _message(self, owner: str) -> str:
        return (
            f"{self._path.parent} is in use by another trainer ({owner}): wait for it or stop it, "
            "or train in another work folder."
        )
