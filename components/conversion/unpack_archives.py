"""Tar archives (Objects365's `patch0.tar.gz`...) unpacked in parallel, one archive an element.

An archive is a stranger's: members with absolute or escaping paths, links, devices and members of
absurd size are refused, and with them the archive. A run that was interrupted goes on: archives
with a note are done, and files that are there with their full size are not written again.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from components.storage.files import (
    NewFile,
    check_output_name,
    file_metadata,
    file_size,
    read_file,
    remove_temporary_files,
    write_file,
)
from pix2seq_model.errors import DataError

_CHUNK_BYTES = 1 << 20
_SUMMARY = "progress/unpacked.json"


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


class _Unpack(beam.DoFn):
    """Path of an archive to a report, bytes of JSON: what it had, or why it was refused."""

    def __init__(self, output: str, *, max_member_bytes: int):
        self._output = output
        self._max_member_bytes = max_member_bytes

    def process(self, archive: str) -> Iterator[bytes]:
        found = file_metadata(archive)
        if found is None:
            raise FileNotFoundError(archive)
        version = [found.size_in_bytes, found.last_updated_in_seconds]
        stored = read_file(self._output, _note_name(archive))
        if stored is not None and orjson.loads(stored)["version"] == version:
            yield stored
            return
        report: dict[str, Any] = {"archive": archive, "version": version, "problem": "", "files": 0}
        try:
            self._unpack(archive, report)
        except (tarfile.TarError, EOFError, OSError, BeamIOError) as error:
            report["problem"] = (
                f"{archive}: damaged or cut off after {report['files']} files ({error}); "
                "download it again"
            )
        except DataError as error:
            report["problem"] = str(error)
        content = orjson.dumps(report)
        if not report["problem"]:
            write_file(self._output, _note_name(archive), content)
        yield content

    def _unpack(self, archive: str, report: dict[str, Any]) -> None:
        with (
            FileSystems.open(archive, compression_type=CompressionTypes.UNCOMPRESSED) as file,
            tarfile.open(fileobj=file, mode="r|*") as tar,
        ):
            for member in tar:
                why = refusal(member, max_member_bytes=self._max_member_bytes)
                if why:
                    raise DataError(
                        f"{archive}: member {member.name!r} is refused: {why}; the archive is not "
                        "what it should be: download it again from its publisher"
                    )
                if member.isdir():
                    continue
                self._write_member(tar, member)
                report["files"] += 1

    def _write_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = member.name.removeprefix("./")
        if file_size(self._output, name) == member.size:
            return
        content = tar.extractfile(member)
        assert content is not None  # as for every file
        with NewFile(self._output, name) as file:
            while chunk := content.read(_CHUNK_BYTES):
                file.write(chunk)


class _WriteReports(beam.DoFn):
    def __init__(self, output: str):
        self._output = output

    def process(self, element: None, reports: list[bytes]) -> None:
        content = sorted((orjson.loads(r) for r in reports), key=lambda r: r["archive"])
        write_file(self._output, _SUMMARY, orjson.dumps(content))


class UnpackArchives(beam.PTransform):
    """Unpacks tar and tar.gz archives into one folder; `check_unpacked` tells how it went."""

    def __init__(self, archives: list[str], *, output: str, max_member_bytes: int = 200_000_000):
        """
        Args:
          archives: Their paths.
          output: Folder.
          max_member_bytes: An archive with a larger file in it is refused.

        Raises:
          DataError: `output` cannot be a folder's name.
        """
        check_output_name(output)
        self._archives = archives
        self._output = output.rstrip("/")
        self._max_member_bytes = max_member_bytes

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        reports = (
            pbegin
            | "Archives" >> beam.Create(self._archives)
            | "Spread" >> beam.Reshuffle()
            | "Unpack"
            >> beam.ParDo(
                _Unpack(self._output, max_member_bytes=self._max_member_bytes)
            ).with_output_types(bytes)
        )
        return (
            pbegin
            | "Once" >> beam.Create([None])
            | "Report"
            >> beam.ParDo(_WriteReports(self._output), reports=beam.pvalue.AsList(reports))
        )


def find_archives(pattern: str) -> list[str]:
    """Returns the archives that match a pattern such as `/data/patch*.tar.gz`.

    Raises:
      DataError: there are none.
    """
    found = FileSystems.match([pattern])[0].metadata_list
    archives = sorted(file.path for file in found)
    if not archives:
        raise DataError(f"no archive matches {pattern}")
    return archives


def check_unpacked(output: str) -> int:
    """Returns how many files the archives had.

    Raises:
      DataError: an archive was damaged or refused.
    """
    output = output.rstrip("/")
    remove_temporary_files(output)
    reports = orjson.loads(read_file(output, _SUMMARY) or b"[]")
    problems = [report["problem"] for report in reports if report["problem"]]
    if problems:
        raise DataError("\n".join(problems))
    return sum(report["files"] for report in reports)
