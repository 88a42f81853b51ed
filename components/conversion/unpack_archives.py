"""Tar archives (Objects365's `patch0.tar.gz`...) unpacked in parallel, one archive an element.

Archives are not trusted: one with absolute or escaping paths, links, devices or members of absurd
size is refused. A run that was interrupted continues with the same command: archives with a note
are done, which they get when they were read to their end and found whole, and of the others a file
that is there with the same content is not written again.
"""

import hashlib
from operator import itemgetter
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from components.conversion.tar_archive import Archive, ArchiveFile
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
from components.storage.notes import read_note, write_note
from components.storage.shards import Once
from components.storage.uploads import Uploads
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json

_CHUNK_BYTES = 1 << 20
_SUMMARY = "progress/unpacked.json"
# In a report, and of a counter that the runner shows.
_OPERATIONS = "class_a_operations"


def _note_name(archive: str) -> str:
    """Where it is noted that an archive is done; Objects365 has two named `patch0.tar.gz`."""
    digest = hashlib.blake2b(archive.encode(), digest_size=4).hexdigest()
    return f"progress/{archive.rpartition('/')[2]}-{digest}.json"


def _unpack(archive: str, output: str, *, max_member_bytes: int) -> dict[str, Any]:
    """Unpacks an archive and returns a report: what it had, or why it was refused."""
    if (found := file_metadata(archive)) is None:
        return {"archive": archive, "problem": f"{archive}: no such file, or no regular one"}
    version = [found.size_in_bytes, found.last_updated_in_seconds]
    stored = read_note(output, _note_name(archive))
    if stored.get("version") == version:
        return stored
    report: dict[str, Any] = {"archive": archive, "version": version, "problem": "", "files": 0}
    report[_OPERATIONS] = 0
    opened = Archive(archive, max_member_bytes=max_member_bytes)
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
        write_note(output, _note_name(archive), report)
    for name in ("files", _OPERATIONS):
        Metrics.counter("unpacking", name).inc(report[name])
    return report


def _unpack_to_folder(archive: Archive, output: str) -> None:
    for file in archive.files():
        try:
            _write(file, output)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise DataError(
                f"{archive.path}: member {file.name!r} is a file and a folder ({error.strerror}); "
                "the archive is not what it should be: download it again from its publisher"
            ) from None


def _write(file: ArchiveFile, output: str) -> None:
    """Writes a file, unless it is there.

    That it is there with its size says nothing: it may be of an archive that was damaged.
    """
    chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
    equal, other = 0, b""
    if file_size(output, file.name) == file.size:
        with open_file(f"{output}/{file.name}") as there:
            for other in chunks:
                if there.read(len(other)) != other:
                    break
                equal += len(other)
            else:
                return
    with new_file(output, file.name) as target:
        if equal:
            with open_file(f"{output}/{file.name}") as there:
                for start in range(0, equal, _CHUNK_BYTES):
                    target.write(there.read(min(_CHUNK_BYTES, equal - start)))
        target.write(other)
        for chunk in chunks:
            target.write(chunk)


def _unpack_to_bucket(archive: Archive, output: str) -> int:
    """Writes several files at a time; returns how many of Google's class A operations it took."""
    with Uploads(output) as uploads:
        for file in archive.files():
            content = file.read()
            if not uploads.has(file.name, content):
                uploads.write(file.name, content)
    return uploads.operations


def _write_reports(output: str, reports: list[Any]) -> None:
    write_file(output, _SUMMARY, orjson.dumps(sorted(reports, key=itemgetter("archive"))))


def _read_reports(output: str) -> list[Any]:
    return parse_json(
        read_file(output, _SUMMARY) or b"[]",
        source=f"{output}/{_SUMMARY}",
        fix="run the same command again: what is unpacked already is kept",
        kind=list,
    )


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
      pbegin: of the pipeline.
      archives: their paths.
      output: folder.
      max_member_bytes: an archive with a larger file in it is refused.

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
    reports = _read_reports(output)
    if problems := [report["problem"] for report in reports if report["problem"]]:
        raise DataError("\n".join(problems))
    return sum(report["files"] for report in reports)


def operations(output: str) -> int:
    """Returns how many of Google's class A operations the archives took that are unpacked."""
    reports = _read_reports(output.rstrip("/"))
    return sum(report.get(_OPERATIONS, 0) for report in reports)
