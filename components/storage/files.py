"""Where a conversion's files are in the examples folder, and how one is written completely.

Split-, dead_letter/, statistics.json           see `pix2seq_model.data.manifest`
progress/train-00000-of-00008.json              says that a shard is complete, and its content
progress/plan.json                              how many shards there will be
progress/summary.json                           of the Beam job, for the step after it
progress/tmp-...                                being written, where there are folders
dataset_info.json                               written last
"""

import contextlib
import csv
import errno
import os
import uuid
import zipfile
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from google.api_core.exceptions import NotFound

from components.storage import bucket
from pix2seq_model.data.folder_walk import walk_files
from pix2seq_model.data.shard_check import Digests
from pix2seq_model.errors import DataError, UnavailableError, UserError
from pix2seq_model.json_file import parse_json
from pix2seq_model.regular_file import irregular_kind, regular_status

PLAN = "progress/plan.json"
SUMMARY = "progress/summary.json"
_READ_BYTES = 1 << 20
_TEMPORARY = "progress/tmp-"
# How names of shards end, as a pattern of Beam's; what is called otherwise is somebody else's.
SHARD_NUMBERS = "-of-".join(["[0-9]" * 5] * 2)
# What the readers of files raise for content that is not what it should be.
_REFUSED = (
    *(OSError, ValueError, EOFError, RecursionError),
    *(zlib.error, zipfile.BadZipFile, csv.Error),
)
# What killed workers leave behind.
TEMPORARY_FILES = (f"{_TEMPORARY}*",)


def check_output_name(output: str) -> None:
    """Refuses a name in which Beam would see a pattern: there is no way to quote one.

    Raises:
      DataError: the name has a bracket, an asterisk or a question mark.
    """
    if any(character in output for character in "*?["):
        raise DataError(
            f"{output} cannot be an output folder: Beam reads *, ? and [ as a pattern; "
            "give another name"
        )


def progress_file(split: str, shard: int, num_shards: int) -> str:
    return f"progress/{split}-{shard:05d}-of-{num_shards:05d}.json"


def _make_folder_of(path: str) -> None:
    folder = path.rpartition("/")[0]
    if not FileSystems.exists(folder):
        # Another worker may have made it meanwhile; if it is not that, writing says what.
        with contextlib.suppress(OSError):
            FileSystems.mkdirs(folder)


@contextlib.contextmanager
def new_file(output: str, name: str) -> Iterator[BinaryIO]:
    """A file written under a temporary name; it gets its own when the `with` block succeeds.

    A worker that dies while writing leaves a temporary file, never half of a file that is read.
    In a bucket, where objects appear whole, there is no temporary one.
    """
    path, temporary = f"{output}/{name}", f"{output}/{_TEMPORARY}{uuid.uuid4().hex}"
    if bucket.is_in_bucket(path):
        with bucket.new_object(path) as file:
            yield file
        return
    _make_folder_of(temporary)
    file = FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        with contextlib.closing(file):
            yield file
        _make_folder_of(path)
        if "://" in path:
            FileSystems.rename([temporary], [path])
        else:
            # Beam's own would tell in an error of its own what was wrong.
            os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            FileSystems.delete([temporary])
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            # Through Beam only the text of an error comes back, without its file.
            raise UnavailableError(
                f"{output} is full ({error.strerror}): free some space there and run the same "
                "command again; what is done is kept"
            ) from error
        raise


class CountedFile:
    """Writes to an open file, and knows how much it was and its checksums."""

    def __init__(self, file: BinaryIO):
        self._file, self._digests, self._num_bytes = file, Digests(), 0

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._digests.update(content)
        self._num_bytes += len(content)

    def described(self) -> dict[str, Any]:
        return {"num_bytes": self._num_bytes, **self._digests.values()}


def write_file(output: str, name: str, content: bytes) -> None:
    """Writes a small file whole or not at all."""
    if bucket.is_in_bucket(output):
        bucket.write_object(f"{output}/{name}", content)
        return
    with new_file(output, name) as file:
        file.write(content)


def open_file(path: str) -> BinaryIO:
    """Opens a file as it is: Beam would unpack one whose name ends in `.gz` or the like."""
    if bucket.is_in_bucket(path):
        return bucket.open_object(path)
    if "://" not in path:
        if regular_status(path) is None:
            raise FileNotFoundError(f"{path}: no such file, or no regular one")
        return open(path, "rb")
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_unpacked(path: str) -> BinaryIO:
    """Opens a file; what is packed by gzip or bzip2, by its name, is unpacked.

    Raises:
      DataError: it is a folder, a pipe or a device.
      OSError: it cannot be opened.
    """
    if kind := irregular_kind(path):
        raise DataError(f"{path} {kind}; name a file")
    return FileSystems.open(path)


def read_whole(path: str) -> bytes:
    """Returns a file's content.

    Raises:
      OSError, GoogleAPICallError: it is not there, or cannot be read.
    """
    if bucket.is_in_bucket(path):
        return bucket.read_object(path)
    with open_file(path) as file:
        return file.read()


def read_file(output: str, name: str) -> bytes | None:
    """Returns a file's content, or None if there is none."""
    try:
        return read_whole(f"{output}/{name}")
    except (FileNotFoundError, NotFound, BeamIOError):
        return None


def file_size(output: str, name: str) -> int | None:
    """Returns a file's size in bytes, or None if there is none."""
    found = file_metadata(f"{output}/{name}")
    return found.size_in_bytes if found else None


def has_content(output: str, name: str, said: Mapping[str, Any]) -> bool:
    """Whether a file is there and is the one that `CountedFile` described."""
    if file_size(output, name) != said["num_bytes"]:
        return False
    digests = Digests(fast_only="crc32c" in said)
    with open_file(f"{output}/{name}") as file:
        while some := file.read(_READ_BYTES):
            digests.update(some)
    return all(said.get(kind, value) == value for kind, value in digests.values().items())


def file_metadata(path: str) -> FileMetadata | None:
    """Returns a file's size and time, or None if there is none; pipes and devices are none.

    Unlike `FileSystems.match` it takes names with brackets and asterisks as they are.
    """
    if "://" not in path:
        status = regular_status(path)
        return status and FileMetadata(path, status.st_size, status.st_mtime)
    if bucket.is_in_bucket(path):
        return bucket.object_metadata(path)
    try:
        return FileSystems.get_filesystem(path).metadata(path)
    except BeamIOError:
        # The same error for "not there" and "no answer": only the first is one.
        if FileSystems.exists(path):
            raise
        return None


def folder_exists(path: str) -> bool:
    """Whether a folder is there; in an object store, whether any name starts with its name."""
    if "://" not in path:
        return os.path.isdir(path)
    if bucket.is_in_bucket(path):
        # The first may be the folder itself, as the console makes it.
        with contextlib.suppress(NotFound):
            return any(True for _ in bucket.list_objects(path, at_most=2))
        return False
    return bool(FileSystems.match([f"{path.rstrip('/')}/**"], limits=[1])[0].metadata_list)


def list_files(folder: str) -> Iterator[str]:
    """Yields the paths of all files in a folder and the folders in it, relative to it.

    In a local folder without hidden ones, and links to folders elsewhere are followed, once each:
    see `data.folder_walk`.

    Raises:
      OSError: a folder in it cannot be read.
    """
    start = f"{folder.rstrip('/')}/"
    if "://" not in folder:
        yield from (path.removeprefix(start) for path in walk_files(start))
        return
    for found in list_store(folder):
        yield found.path.removeprefix(start)


def list_store(folder: str, *, folders: list[str] | None = None) -> Iterator[FileMetadata]:
    """Yields what is in a folder of an object store, and in the folders in it.

    Args:
      folder: address.
      folders: see `bucket.list_objects`; other stores list all that is below at once.
    """
    if bucket.is_in_bucket(folder):
        yield from bucket.list_objects(folder, folders=folders)
    else:
        # The only listing of Beam's that is a stream and knows no patterns.
        yield from FileSystems.get_filesystem(folder)._list(f"{folder.rstrip('/')}/")


def remove_others(output: str, patterns: Iterable[str], *, kept: Container[str]) -> None:
    """Removes what an earlier run, another number of shards or a killed worker left behind.

    Args:
      output: a folder.
      patterns: of the files that a run may write, inside the folder.
      kept: the files of this run, relative to the folder.
    """
    found = FileSystems.match([f"{output}/{pattern}" for pattern in patterns])
    others = [
        file.path
        for match in found
        for file in match.metadata_list
        if file.path.startswith(f"{output}/") and file.path.removeprefix(f"{output}/") not in kept
    ]
    FileSystems.delete(others)


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Raises DataError, with the reason behind `what`, where files cannot be used in the block."""
    try:
        yield
    except UserError:
        raise
    except _REFUSED as error:
        raise DataError(f"{what}: {error}") from None


def file_exists(path: str) -> bool:
    """Whether a file is there.

    Raises:
      DataError: its place cannot be asked.
    """
    with refusing(f"{path} cannot be read"):
        if bucket.is_in_bucket(path):
            return bucket.object_metadata(path) is not None
        return FileSystems.exists(path)


def begin_run(output: str, *, manifest: str) -> None:
    """Removes an old manifest and plan and makes an empty summary.

    Raises:
      DataError: `output` cannot be written.
    """
    with refusing(f"{output} cannot be written; give another output folder"):
        old = [f"{output}/{name}" for name in (manifest, PLAN)]
        FileSystems.delete([path for path in old if FileSystems.exists(path)])
        write_file(output, SUMMARY, b"{}")


def read_summary(output: str) -> Any:
    """Returns what the Beam job found out.

    Raises:
      BeamIOError: the job did not come to its end.
      DataError: the file is damaged.
    """
    summary = parse_json(
        read_file(output, SUMMARY) or b"{}",
        source=f"{output}/{SUMMARY}",
        fix="run the same command again: what is done already is kept",
    )
    if not summary:
        raise BeamIOError(f"{output}/{SUMMARY} was not written: the Beam job did not finish")
    return summary
