"""The files of a tar archive, as a stream of which not a byte is taken on trust.

Python's `tarfile` reads a damaged archive as far as it likes it: of `.tar.gz` it never compares the
checksum, and a header that is no header is its end. Here a stream that is not whole (its checksum,
its length, the two empty blocks at its end) is an error that says so, and so is a member that would
leave the folder, be no file, or be absurdly large.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from components.storage.files import open_file
from pix2seq_model.errors import DataError

# By the first bytes of a file.
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_READ_BYTES = 1 << 20
# A header that holds names for the next one; tarfile reads it into memory.
_MOST_HEADER_BYTES = 1 << 20
_EXTENSIONS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
# Behind the last member writers fill up a block of a tape, of 10 kB mostly.
_MOST_PADDING_BYTES = 64 << 20
_MOST_NAME_BYTES = 255  # Of a file system, for each part of a path.
# What tarfile, gzip, bz2 and lzma raise of content; an error of the disk has the source's mark.
_DAMAGE = (
    *(tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError),
    *(ValueError, IndexError, KeyError, OverflowError, RecursionError),
)


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def refusal(member: tarfile.TarInfo, *, max_member_bytes: int) -> str:
    """Returns why a member must not be unpacked; empty if it may be."""
    name, parts = member.name, _parts(member.name)
    if name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":"):
        return "its path is absolute"
    if ".." in parts:
        return "its path leaves the folder"
    if parts[:1] == ["progress"]:
        return "its folder is the one for notes of what is done"
    if member.issym() or member.islnk():
        return "it is a link"
    if member.issparse() or not (member.isfile() or member.isdir()):
        return "it is neither a plain file nor a folder"
    if not 0 <= member.size <= max_member_bytes:
        return f"it has {member.size} bytes, the limit is {max_member_bytes}"
    if "\0" in name or (not parts and not member.isdir()):
        return "it has no name that a file can have"
    if any(len(part.encode(errors="surrogateescape")) > _MOST_NAME_BYTES for part in parts):
        return f"a part of its name is longer than {_MOST_NAME_BYTES} bytes"
    return ""


class Archive:
    """The files of an archive, in its order, as a stream.

    Attributes:
      path: of the archive.
      num_files: that were read so far.
    """

    def __init__(self, path: str, *, max_member_bytes: int):
        self.path, self._max_member_bytes = path, max_member_bytes
        self._source: _Source | None = None
        self.num_files = 0

    def files(self) -> Iterator["ArchiveFile"]:
        """Yields each file, to be read before the next one.

        Raises:
          DataError: the archive is damaged or refused. What is wrong with the content of a file may
            be known at the end of the archive alone.
        """
        with contextlib.ExitStack() as stack:
            self._source = _Source(stack.enter_context(open_file(self.path)))
            with self.damage_explained():
                stream = stack.enter_context(_unpacked(self._source))
                tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member))
            while member := self._next(tar):
                if why := refusal(member, max_member_bytes=self._max_member_bytes):
                    raise DataError(
                        f"{self.path}: member {member.name!r} is refused: {why}; the archive is "
                        "not what it should be: download it again from its publisher"
                    )
                if not member.isdir():
                    content = tar.extractfile(member)
                    assert content is not None  # as for every file
                    yield ArchiveFile("/".join(_parts(member.name)), member.size, content, self)
                    self.num_files += 1
            with self.damage_explained():
                _check_end(tar.fileobj)

    def _next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        with self.damage_explained():
            return tar.next()

    @contextlib.contextmanager
    def damage_explained(self) -> Iterator[None]:
        """Raises DataError for what is wrong with the archive, and nothing else."""
        try:
            yield
        except _DAMAGE as error:
            # No answer from a disk or a bucket says nothing of the archive.
            if isinstance(error, DataError) or (self._source and self._source.failure):
                raise
            raise DataError(
                f"{self.path}: damaged or cut off after {self.num_files} files "
                f"({error or type(error).__name__}); download it again"
            ) from None


class ArchiveFile(NamedTuple):
    """A file of an archive.

    Attributes:
      name: its path, with slashes, inside the folder to unpack to.
      size: bytes.
      content: of it.
      archive: that it is in.
    """

    name: str
    size: int
    content: IO[bytes]
    archive: Archive

    def read(self, size: int = -1) -> bytes:
        """Raises DataError: the archive is damaged here."""
        with self.archive.damage_explained():
            return self.content.read(size)


class _Source(io.RawIOBase):
    """The archive's own bytes; remembers the error that reading them ended with."""

    def __init__(self, file: Any):
        self._file = file
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            some = self._file.read(len(buffer))
        except BaseException as error:
            self.failure = error
            raise
        buffer[: len(some)] = some
        return len(some)


class _Member(tarfile.TarInfo):
    """Does not take a damaged or missing header for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # The end.
            raise tarfile.ReadError(str(error)) from None
        if member.type in _EXTENSIONS and not 0 <= member.size <= _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member


def _unpacked(source: _Source) -> IO[bytes]:
    """The tar stream in a compressed file, or the file itself; checks each checksum that it has."""
    file = io.BufferedReader(source, _READ_BYTES)
    # On a bucket or a pipe less may come at a time than is asked for.
    first = file.peek(8)
    for begin, opener in _OPENERS.items():
        if first.startswith(begin):
            return io.BufferedReader(opener(file), _READ_BYTES)
    return file


def _check_end(stream: Any) -> None:
    """Reads what follows the first of the blocks that end an archive: zeros, to the file's end."""
    second = stream.read(tarfile.BLOCKSIZE)
    if len(second) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("the blocks at its end are missing")
    padding = 0
    while some := second or stream.read(_READ_BYTES):
        if some.count(0) != len(some):
            raise tarfile.ReadError("something follows where the archive should end")
        padding, second = padding + len(some), b""
        if padding > _MOST_PADDING_BYTES:
            raise tarfile.ReadError("nothing but zeros follows, without an end")
