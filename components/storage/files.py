"""Where a conversion's files lie in the examples folder, and how one of them is put there whole.

Split-, dead_letter/, statistics.json           see `pix2seq_model.data.manifest`
progress/train-00000-of-00008.json              says that a shard is complete, and its content
progress/plan.json                              how many shards there will be
progress/summary.json                           of the Beam job, for the step after it
progress/tmp-...                                being written
dataset_info.json                               written last
"""

import contextlib
import os
import uuid
from collections.abc import Container, Iterable
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from google.api_core.exceptions import NotFound

from pix2seq_model.errors import DataError

PLAN = "progress/plan.json"
SUMMARY = "progress/summary.json"
_TEMPORARY = "progress/tmp-"


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
        with contextlib.suppress(OSError, BeamIOError):
            FileSystems.mkdirs(folder)


class NewFile:
    """A file written under a temporary name; it gets its own when the `with` block succeeds.

    Whoever dies while writing leaves a temporary file, never half of one that is read.
    """

    def __init__(self, output: str, name: str):
        self._path = f"{output}/{name}"
        self._temporary = f"{output}/{_TEMPORARY}{uuid.uuid4().hex}"

    def __enter__(self) -> BinaryIO:
        _make_folder_of(self._temporary)
        self._file = FileSystems.create(
            self._temporary, compression_type=CompressionTypes.UNCOMPRESSED
        )
        return self._file

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if error_type is not None:
            FileSystems.delete([self._temporary])
            return
        _make_folder_of(self._path)
        FileSystems.rename([self._temporary], [self._path])


def write_file(output: str, name: str, content: bytes) -> None:
    """Writes a small file whole or not at all."""
    with NewFile(output, name) as file:
        file.write(content)


def read_file(output: str, name: str) -> bytes | None:
    """Returns a file's content, or None if there is none."""
    try:
        with FileSystems.open(
            f"{output}/{name}", compression_type=CompressionTypes.UNCOMPRESSED
        ) as file:
            return file.read()
    except (FileNotFoundError, NotFound, BeamIOError):
        return None


def file_size(output: str, name: str) -> int | None:
    """Returns a file's size in bytes, or None if there is none."""
    found = file_metadata(f"{output}/{name}")
    return found.size_in_bytes if found else None


def file_metadata(path: str) -> FileMetadata | None:
    """Returns a file's size and time, or None if there is none.

    Unlike `FileSystems.match` it takes names with brackets and asterisks as they are.
    """
    if "://" not in path:
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return FileMetadata(path, status.st_size, status.st_mtime)
    try:
        return FileSystems.get_filesystem(path).metadata(path)
    except BeamIOError:
        # The same error for "not there" and "no answer": only the first is one.
        if FileSystems.exists(path):
            raise
        return None


def folder_exists(path: str) -> bool:
    """Whether a folder is there; in an object store, whether anything has its name in front."""
    if "://" not in path:
        return os.path.isdir(path)
    return bool(FileSystems.match([f"{path.rstrip('/')}/**"], limits=[1])[0].metadata_list)


def remove_temporary_files(output: str) -> None:
    """Removes what killed workers left behind."""
    found = FileSystems.match([f"{output}/{_TEMPORARY}*"])[0].metadata_list
    if found:
        FileSystems.delete([file.path for file in found])


def remove_files(*paths: str) -> None:
    """Removes those of the files that are there."""
    there = [path for path in paths if FileSystems.exists(path)]
    if there:
        FileSystems.delete(there)


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
    if others:
        FileSystems.delete(others)
