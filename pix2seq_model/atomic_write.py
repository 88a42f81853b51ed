"""Files that are whole or absent: written under a temporary name, then renamed."""

import contextlib
import errno
import json
import os
import platform
import re
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

# In front of a file's name while it is written; its ending stays, some writers go by it.
PARTIAL = ".partial-"
# What follows: on which machine, by which process, and a word of the writer's own.
_TEMPORARY = re.compile(
    rf"{re.escape(PARTIAL)}(?P<machine>[0-9a-f]{{8}})-(?P<process>\d{{1,9}})-[0-9a-f]{{8}}-.+",
    re.DOTALL,
)
_MOST_NAME_BYTES = 255
# Of a writer whose process seems to be gone: containers may share a machine's name, but not the
# numbers of their processes. Of one on another machine nothing can be known.
_QUIET_FOR_S, _ABANDONED_AFTER_S = 600.0, 24 * 3600.0
# What this process is writing, and folders in which it has removed what killed writers left.
_in_the_making: set[str] = set()
_cleared: set[str] = set()
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def full_disk_named(path: epath.PathLike) -> Iterator[None]:
    """Adds a file to an error of a full disk in the block, unless that names one already.

    Only a failed opening names its file, no failed write.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_atomically(path: epath.PathLike, content: str | bytes) -> None:
    """Writes a file under a temporary name, then renames: no reader ever sees half of it.

    Of several that write it at once, one has the last word. An object of a bucket appears whole,
    and is written under its own name. Missing folders above it are made.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        is_in_bucket = os.fspath(path).startswith("gs://")
        written = path if is_in_bucket else stack.enter_context(_temporary_name(path))
        with full_disk_named(path):
            if isinstance(content, bytes):
                written.write_bytes(content)
            else:
                written.write_text(content)
        if not is_in_bucket:
            written.replace(path)


@contextlib.contextmanager
def _temporary_name(target: epath.Path) -> Iterator[epath.Path]:
    """A name next to a local file that no other writer has; the block renames what it has there.

    If it raises, nothing is left of it.
    """
    folder = os.fspath(target.parent)
    if folder not in _cleared:  # Once: to list it for each file would take long.
        _cleared.add(folder)
        _remove_abandoned(folder)
    prefix = os.fsencode(f"{PARTIAL}{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}-")
    rest = os.fsencode(target.name)[len(prefix) - _MOST_NAME_BYTES :]
    name = os.fsdecode(prefix + rest)
    _in_the_making.add(name)
    try:
        yield target.parent / name
    except BaseException:
        with contextlib.suppress(Exception):  # A full disk leaves half of it.
            (target.parent / name).unlink(missing_ok=True)
        raise
    finally:
        _in_the_making.discard(name)


def _machine() -> str:
    return f"{zlib.crc32(os.fsencode(platform.node())):08x}"


def _remove_abandoned(folder: str) -> None:
    """Removes what killed writers have left."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = _TEMPORARY.fullmatch(entry.name)
            if name is None or entry.name in _in_the_making:
                continue
            is_here = name["machine"] == _machine()
            if is_here and lives(int(name["process"])):
                continue
            # One that is gone meanwhile, or may not be removed, holds up nobody.
            with contextlib.suppress(OSError):
                quiet = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if quiet > (_QUIET_FOR_S if is_here else _ABANDONED_AFTER_S):
                    os.unlink(entry.path)


def lives(process: int) -> bool:
    """Whether there is another process of this number on this machine."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (OSError, OverflowError) as error:
        return getattr(error, "errno", None) == errno.EPERM
    return True


def write_json(path: epath.PathLike, value: Any, *, indent: int | None = None) -> None:
    """Writes `value` as JSON, as `write_atomically` does.

    Numbers that are not finite are refused (ValueError): strict readers could not read them.
    """
    write_atomically(path, json.dumps(value, allow_nan=False, indent=indent) + "\n" * bool(indent))


def seconds_unchanged(folder: epath.PathLike) -> float:
    """How long nothing in a folder was written: what tells a copy in the making from one left over.

    The number of a process does not: containers that share a machine's name do not share those.

    Args:
      folder: local or gs://.

    Raises:
      OSError: something in it was removed meanwhile, among others.
    """
    changes = [0.0]
    for place, _, names in epath.Path(folder).walk():
        if os.fspath(place).startswith("gs://"):  # A bucket has no folders.
            changes += [(epath.Path(place) / name).stat().mtime for name in names]
        else:  # etils looks up the owner's name too, who in a container may have none.
            changes += [os.stat(os.path.join(place, name)).st_mtime for name in ("", *names)]
    return time.time() - max(changes)


def check_room(path: Path, room: int) -> None:
    """Takes the room for a moment: quotas count, and what a disk says is free may not be.

    For writers that do not say that a disk is full: HDF5 ends the process, ONNX Runtime goes on.

    Args:
      path: a local file that will be written, in a folder that is there; removed.
      room: bytes.

    Raises:
      OSError: there is no such room; names the folder. What else is wrong the writer will find.
    """
    if not room or not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, os.strerror(error.errno), os.fspath(path.parent)) from None
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_path(path: epath.PathLike, *, room: int = 0) -> Iterator[Path]:
    """The name of a local file to write inside the `with` block; its end puts it at `path`.

    For writers that jump back and forth in a file, as zip and HDF5 do: that needs a local one, so
    a file for gs:// is written here first. If the block raises, nothing is left of it.

    Args:
      path: where the file goes, local or gs://.
      room: bytes that must be free for it. HDF5 ends the process by a segmentation fault where a
        disk is full, so that must be known before.

    Raises:
      OSError: there is no such room, among others.
    """
    target = epath.Path(path)
    if os.fspath(target).startswith("gs://"):
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / target.name
            with full_disk_named(local):
                check_room(local, room)
                yield local
            # An object of a bucket appears whole.
            epath.Path(local).copy(target, overwrite=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_name(target) as name:
        temporary = Path(name)
        with full_disk_named(target):
            check_room(temporary, room)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
