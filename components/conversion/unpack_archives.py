"""Tar archives (Objects365's `patch0.tar.gz`...) unpacked in parallel, one archive an element.

Archives are not trusted: one with absolute or escaping paths, links, devices or members of absurd
size is refused. A run that was interrupted continues with the same command: archives with a note
are done, and files that are there with their full size are not written again.
"""

import contextlib
import hashlib
import tarfile
from collections.abc import Iterator
from operator import itemgetter
from typing import IO, Any, NamedTuple

import apache_beam as beam
import orjson
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from components.storage.bucket import is_in_bucket
from components.storage.files import (
    TEMPORARY_FILES,
    check_output_name,
    file_metadata,
    file_size,
    new_file,
    open_file,
    read_file,
    remove_others,
    write_file,
)
from components.storage.shards import Once
from components.storage.uploads import Uploads
from pix2seq_model.errors import DataError

_CHUNK_BYTES = 1 << 20
_SUMMARY = "progress/unpacked.json"
# In a report, and of a counter that the runner shows.
_OPERATIONS = "class_a_operations"


def _note_name(archive: str) -> str:
    """Where it is noted that an archive is done; Objects365 has two named `patch0.tar.gz`."""
    digest = hashlib.blake2b(archive.encode(), digest_size=4).hexdigest()
    return f"progress/{archive.rpartition('/')[2]}-{digest}.json"


def refusal(member: tarfile.TarInfo, *, max_member_bytes: int) -> str:
    """Returns why a member must not be unpacked; empty if it may be."""
    name = member.name
    if name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":"):
        return "its path is absolute"
    if ".." in name.replace("\\", "/").split("/"):
        return "its path leaves the folder"
    if name.removeprefix("./").split("/")[0] == "progress":
        return "its folder is the one for notes of what is done"
    if member.issym() or member.islnk():
        return "it is a link"
    if not member.isfile() and not member.isdir():
        return "it is neither a file nor a folder"
    if member.size > max_member_bytes:
        return f"it has {member.size} bytes, the limit is {max_member_bytes}"
    return ""


class _Archive:
    """The files of an archive, in its order, as a stream."""

    def __init__(self, path: str, *, max_member_bytes: int):
        self._path, self._max_member_bytes = path, max_member_bytes
        self.num_files = 0

    def files(self) -> Iterator["_File"]:
        """Yields each file, to be read before the next one.

        Raises:
          DataError: the archive is damaged or refused.
        """
        with (
            self.damage_explained(),
            open_file(self._path) as file,
            tarfile.open(fileobj=file, mode="r|*") as tar,
        ):
            for member in tar:
                if why := refusal(member, max_member_bytes=self._max_member_bytes):
                    raise DataError(
                        f"{self._path}: member {member.name!r} is refused: {why}; the archive is "
                        "not what it should be: download it again from its publisher"
                    )
                if not member.isdir():
                    content = tar.extractfile(member)
                    assert content is not None  # as for every file
                    yield _File(member.name.removeprefix("./"), member.size, content, self)
                    self.num_files += 1

    @contextlib.contextmanager
    def damage_explained(self) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, EOFError) as error:
            # Not OSError: no answer from a disk or bucket says nothing of the archive.
            raise DataError(
                f"{self._path}: damaged or cut off after {self.num_files} files ({error}); "
                "download it again"
            ) from None


class _File(NamedTuple):
    name: str
    size: int
    content: IO[bytes]
    archive: _Archive

    def read(self, size: int = -1) -> bytes:
        with self.archive.damage_explained():
            return self.content.read(size)


def _unpack(archive: str, output: str, *, max_member_bytes: int) -> dict[str, Any]:
    """Unpacks an archive and returns a report: what it had, or why it was refused."""
    if (found := file_metadata(archive)) is None:
        raise FileNotFoundError(archive)
    version = [found.size_in_bytes, found.last_updated_in_seconds]
    stored = orjson.loads(read_file(output, _note_name(archive)) or b"{}")
    if stored.get("version") == version:
        return stored
    report: dict[str, Any] = {"archive": archive, "version": version, "problem": "", "files": 0}
    report[_OPERATIONS] = 0
    opened = _Archive(archive, max_member_bytes=max_member_bytes)
    try:
        if is_in_bucket(output):
            # The note of this archive is an object too.
            report[_OPERATIONS] = _unpack_to_bucket(opened, output) + 1
        else:
            _unpack_to_folder(opened, output)
    except DataError as error:
        report["problem"] = str(error)
    report["files"] = opened.num_files
    if not report["problem"]:
        write_file(output, _note_name(archive), orjson.dumps(report))
    for name in ("files", _OPERATIONS):
        Metrics.counter("unpacking", name).inc(report[name])
    return report


def _unpack_to_folder(archive: _Archive, output: str) -> None:
    for file in archive.files():
        if file_size(output, file.name) != file.size:
            with new_file(output, file.name) as target:
                while some := file.read(_CHUNK_BYTES):
                    target.write(some)


def _unpack_to_bucket(archive: _Archive, output: str) -> int:
    """Writes several files at a time; returns how many of Google's class A operations it took."""
    with Uploads(output) as uploads:
        for file in archive.files():
            if uploads.size(file.name) != file.size:
                uploads.write(file.name, file.read())
    return uploads.operations


def _write_reports(output: str, reports: list[Any]) -> None:
    write_file(output, _SUMMARY, orjson.dumps(sorted(reports, key=itemgetter("archive"))))


@beam.ptransform_fn
def UnpackArchives(  # noqa: N802
    pbegin: beam.pvalue.PBegin,
    archives: list[str],
    *,
    output: str,
    max_member_bytes: int = 200_000_000,
) -> beam.PCollection:
    """Unpacks tar and tar.gz archives into one folder; `check_unpacked` gives the result.

    Args:
      pbegin: Of the pipeline.
      archives: Their paths.
      output: Folder.
      max_member_bytes: An archive with a larger file in it is refused.

    Raises:
      DataError: `output` cannot be a folder's name.
    """
    check_output_name(output)
    output = output.rstrip("/")
    reports = (
        pbegin
        | "Archives" >> beam.Create(archives)
        | "Spread" >> beam.Reshuffle()
        | "Unpack" >> beam.Map(_unpack, output, max_member_bytes=max_member_bytes)
    )
    return pbegin | "Report" >> Once(_write_reports, output, reports=reports)


def find_archives(pattern: str) -> list[str]:
    """Returns the archives that match a pattern such as `/data/patch*.tar.gz`.

    Raises:
      DataError: there are none.
    """
    archives = sorted(file.path for file in FileSystems.match([pattern])[0].metadata_list)
    if not archives:
        raise DataError(f"no archive matches {pattern}")
    return archives


def check_unpacked(output: str) -> int:
    """Returns how many files the archives had; `operations` says what they took in a bucket.

    Raises:
      DataError: an archive was damaged or refused.
    """
    output = output.rstrip("/")
    remove_others(output, TEMPORARY_FILES, kept=())
    reports = orjson.loads(read_file(output, _SUMMARY) or b"[]")
    if problems := [report["problem"] for report in reports if report["problem"]]:
        raise DataError("\n".join(problems))
    return sum(report["files"] for report in reports)


def operations(output: str) -> int:
    """Returns how many of Google's class A operations the archives took that are unpacked."""
    reports = orjson.loads(read_file(output.rstrip("/"), _SUMMARY) or b"[]")
    return sum(report.get(_OPERATIONS, 0) for report in reports)
