"""One process that writes a folder: one trainer of a work folder, one conversion into an output."""

import contextlib
import fcntl
import os
import platform
import sys
import threading
import time
import uuid
from typing import IO, Any

from etils import epath

from pix2seq_model.bucket_file import BucketFile, ChangedError
from pix2seq_model.errors import FolderInUseError, UnavailableError, UserError

RENEW_EVERY_S = 30.0
# A lock in a bucket that is not renewed for so long is of a process that is gone.
LEFT_BEHIND_S = 150.0


class FolderLock:
    """Holds a folder while a process writes it; a context manager.

    On a local disk the operating system's lock, which ends with the process however it ends. In a
    bucket there is none: there an object names the holder, which renews it all the time, always
    over the generation that it has written itself. Whoever finds one watches it for some minutes:
    one that is not renewed was left behind by a process that is gone, as those on spot machines
    are, and is taken over. A holder that was merely asleep finds another one's name in its place:
    see `check`.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        holder: str = "trainer",
        otherwise: str = "train in another work folder",
    ) -> None:
        """
        Args:
          folder: local or gs://; other stores of Beam have no lock, and none is held there.
          holder: what holds it, for messages and the lock's name.
          otherwise: what else a person can do who finds it held.
        """
        self._name = f"{holder}.lock"
        place = os.fspath(folder)
        self._has_lock = "://" not in place or place.startswith("gs://")
        self._folder: Any = epath.Path(folder) if self._has_lock else place
        self._holder, self._otherwise = holder, otherwise
        self._owner = f"process {os.getpid()} on {platform.node()}"
        self._file: IO[str] | None = None
        self._remote: _RenewedFile | None = None

    def __enter__(self) -> "FolderLock":
        """Takes the folder.

        Raises:
          FolderInUseError: another process holds it; the message says which.
          UserError: the folder cannot be made or written.
          UnavailableError: the bucket does not answer, or refuses.
        """
        if not self._has_lock:
            return self
        try:
            if os.fspath(self._folder).startswith("gs://"):
                self._enter_remote()
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._enter_local()
        except OSError as error:
            in_bucket = os.fspath(self._folder).startswith("gs://")
            raise (UnavailableError if in_bucket else UserError)(
                f"The folder {self._folder} cannot be written ({error}): name another one or "
                "fix this one."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            # While it is still locked: who waits for this file finds that it is no longer there.
            (self._folder / self._name).unlink(missing_ok=True)
            self._file.close()
            self._file = None
        elif self._remote is not None:
            self._remote.leave()
            self._remote = None

    def check(self) -> None:
        """To be called before something is written that a successor could have written too.

        Raises:
          FolderInUseError: another process has taken the folder over.
          UnavailableError: that cannot be seen, as the bucket does not answer.
        """
        if self._remote is None:
            return
        try:
            owner = self._remote.taken_by()
        except OSError as error:
            raise UnavailableError(
                f"Whether {self._folder} is still held by this {self._holder} cannot be seen "
                f"({error}): run the same command again when the bucket answers."
            ) from error
        if owner:
            raise FolderInUseError(
                f"{self._folder} was taken over by another {self._holder} ({owner}) while this "
                f"one ({self._owner}) did not answer for {LEFT_BEHIND_S:.0f} s: it ends here and "
                "writes nothing more; the other one goes on."
            )

    def _enter_local(self) -> None:
        path = self._folder / self._name
        while True:
            file = open(path, "a+")  # noqa: SIM115
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                owner = file.read().strip() or "another process"
                file.close()
                raise FolderInUseError(self._message(owner)) from error
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
            file.close()  # Of a holder that has just left, and removed it.
        file.truncate(0)
        file.write(self._owner + "\n")
        file.flush()
        self._file = file

    def _enter_remote(self) -> None:
        file = BucketFile(os.fspath(self._folder / self._name))
        found, generation = file.read()
        if found:
            generation = self._wait_for_renewal(file, found)
        try:
            self._remote = _RenewedFile(file, self._owner, over=generation)
        except ChangedError as error:
            raise FolderInUseError(self._message(_owner(str(error)))) from error

    def _wait_for_renewal(self, file: BucketFile, found: str) -> int:
        """The generation to write over, once a lock counts as left behind; 0 if it is gone."""
        print(
            f"{self._folder} was in use by {_owner(found)}; seeing for {LEFT_BEHIND_S:.0f} s "
            "whether it is still there ...",
            file=sys.stderr,
            flush=True,
        )
        deadline = time.monotonic() + LEFT_BEHIND_S
        while True:
            time.sleep(min(RENEW_EVERY_S, 5.0))
            now, generation = file.read()
            if not now or (now == found and time.monotonic() >= deadline):
                return generation
            if now != found:
                raise FolderInUseError(self._message(_owner(now)))

    def _message(self, owner: str) -> str:
        return (
            f"{self._folder} is in use by another {self._holder} ({owner}): wait for it or stop "
            f"it, or {self._otherwise}."
        )


class _RenewedFile:
    """An object that says who holds a folder, renewed by a thread of its own."""

    def __init__(self, file: BucketFile, owner: str, *, over: int) -> None:
        self._file, self._owner = file, owner
        self._id = uuid.uuid4().hex
        self._mutex = threading.Lock()
        self._left = threading.Event()
        self._taken_by = ""
        self._count = 0
        self._generation = over
        self._renew()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)
        self._thread.start()

    def taken_by(self) -> str:
        """The process that holds the folder instead of this one; "" while it is this one.

        Raises:
          OSError: the store does not answer.
        """
        with self._mutex:
            if not self._taken_by:
                try:
                    if not self._look():
                        self._renew()
                except ChangedError as error:
                    self._notice(str(error))
            return self._taken_by

    def leave(self) -> None:
        self._left.set()
        self._thread.join()
        try:
            if not self._taken_by:
                self._file.delete(over=self._generation)
        except OSError as error:  # It is not renewed any more; so it will be taken over.
            print(f"the lock was not removed: {error}", file=sys.stderr, flush=True)

    def _renew(self) -> None:
        self._count += 1
        text = f"{self._id}-{self._count} {self._owner}"
        self._generation = self._file.write(text, over=self._generation)

    def _look(self) -> str:
        """Reads what is there now, to write over it; whoever wrote it."""
        found, self._generation = self._file.read()
        self._notice(found)
        return found

    def _notice(self, found: str) -> None:
        if found and not found.startswith(self._id):
            self._taken_by = _owner(found)

    def _keep_renewing(self) -> None:
        while not (self._left.wait(RENEW_EVERY_S) or self._taken_by):
            with self._mutex:
                try:
                    self._renew()
                except ChangedError:
                    # By another one; or by an earlier write of ours whose answer was lost.
                    with contextlib.suppress(OSError):
                        self._look()
                except OSError as error:  # The next one may do; nothing ends for it.
                    print(f"the lock was not renewed: {error}", file=sys.stderr, flush=True)


def _owner(text: str) -> str:
    return text.partition(" ")[2].strip() or "another process"
