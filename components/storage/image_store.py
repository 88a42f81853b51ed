"""Reading images in place: from a folder in any of the known layouts, or from a zip archive.

Objects365's images are unpacked in three ways, so an image is looked for as `file_name`, then as
`patchN/basename`, then as `basename`. Local paths and `gs://` alike.
"""

import collections
import functools
import posixpath
import re
import struct
import threading
import zipfile
import zlib
from typing import BinaryIO, NamedTuple, Protocol

import tenacity
from google.api_core.exceptions import GoogleAPIError, NotFound

from components.storage.files import file_metadata, open_file

# What `ImageStore.read` raises; all but the last may pass.
READING_ERRORS = (OSError, GoogleAPIError, zipfile.BadZipFile)
_PASSING_ERRORS = READING_ERRORS[:-1]
_PATCH = re.compile(r"(?:^|/)(patch\d+)/")
_MISSING = (FileNotFoundError, NotFound)
_retrying = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(_PASSING_ERRORS)
    & tenacity.retry_if_not_exception_type(_MISSING),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_exponential(multiplier=0.5),  # seconds: 0.5, 1, 2
    reraise=True,
)
# Beam's own reader of gs:// fetches 16 MB for each place that is read.
_RANGE_BYTES = 1 << 16
_ENCRYPTED = 1
# A member's own header: of interest are the lengths of its name and of what else precedes the data.
_HEADER = struct.Struct("<26xHH")
_USUAL_EXTRA = 64


class Location(NamedTuple):
    """Where an image was found.

    Attributes:
      path: Inside the store, for `read`.
      size: Bytes.
      version: Changes when the file changes: its time, or its checksum inside an archive.
    """

    path: str
    size: int
    version: int


class ImageStore(Protocol):
    """A place with images; its methods may be called from several threads."""

    def locate(self, file_name: str) -> Location | None:
        """Finds an image by the annotation file's `file_name`; None if it is not there."""

    def read(self, path: str) -> bytes:
        """Returns the file at a `Location.path`."""


def candidate_paths(file_name: str) -> list[str]:
    """Returns the paths that an image may have, in the order of looking."""
    name = posixpath.basename(file_name)
    paths = [file_name]
    if patch := _PATCH.search(file_name):
        paths.append(f"{patch[1]}/{name}")
    paths.append(name)
    return list(dict.fromkeys(paths))


def _open_for_ranges(path: str) -> BinaryIO:
    if path.startswith("gs://"):
        from apache_beam.io.gcp.gcsio import GcsIO  # Takes a second to import.

        return GcsIO().open(path, read_buffer_size=_RANGE_BYTES)
    return open_file(path)


class ImageFolder:
    """Images in a folder."""

    def __init__(self, root: str):
        self._root = root.rstrip("/")

    def locate(self, file_name: str) -> Location | None:
        for path in candidate_paths(file_name):
            if found := file_metadata(f"{self._root}/{path}"):
                version = int(found.last_updated_in_seconds * 1000)
                return Location(path, found.size_in_bytes, version)
        return None

    def read(self, path: str) -> bytes:
        with open_file(f"{self._root}/{path}") as file:
            return file.read()


class ImageZip:
    """Images in a zip archive, read in place; on `gs://` by ranges.

    Its directory is read once. Each thread has the archive open for itself, so that several images
    are read at a time; Python's own `ZipFile` lets one thread read after the other.
    """

    def __init__(self, path: str):
        self._path = path
        self._of_thread = threading.local()
        self._by_name: dict[str, list[zipfile.ZipInfo]] = collections.defaultdict(list)
        with _open_for_ranges(path) as file, zipfile.ZipFile(file) as self._archive:
            for member in self._archive.infolist():
                if not member.is_dir():
                    self._by_name[posixpath.basename(member.filename)].append(member)

    def locate(self, file_name: str) -> Location | None:
        members = self._by_name.get(posixpath.basename(file_name), [])
        for path in candidate_paths(file_name):
            # Archives have a folder of their own at the top (`train2017/`), or none.
            for member in members:
                if member.filename == path or member.filename.endswith(f"/{path}"):
                    return Location(member.filename, member.file_size, member.CRC)
        return None

    def read(self, path: str) -> bytes:
        member = self._archive.getinfo(path)
        is_encrypted, method = member.flag_bits & _ENCRYPTED, member.compress_type
        if is_encrypted or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            how = "encrypted" if is_encrypted else f"packed by method {method}"
            raise zipfile.BadZipFile(f"{path} is {how}; unpack {self._path} and name the folder")
        data = self._packed(member)
        if method == zipfile.ZIP_DEFLATED:
            try:
                # One byte more than announced is enough to see that the size is wrong.
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
            except zlib.error as error:
                raise zipfile.BadZipFile(f"{path} is damaged in {self._path}: {error}") from None
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise zipfile.BadZipFile(f"{path} is damaged in {self._path}: wrong checksum")
        return data

    def _packed(self, member: zipfile.ZipInfo) -> bytes:
        """The bytes of a member as they are in the archive, mostly in one read."""
        offset, size = member.header_offset, member.compress_size
        name_size = len(member.filename.encode())
        start = self._read_range(offset, _HEADER.size + name_size + _USUAL_EXTRA + size)
        if len(start) < _HEADER.size or not start.startswith(b"PK\3\4"):
            raise zipfile.BadZipFile(
                f"{member.filename} is not where {self._path}'s directory says"
            )
        begin = _HEADER.size + sum(_HEADER.unpack_from(start))
        packed = start[begin : begin + size]
        if missing := size - len(packed):
            packed += self._read_range(offset + begin + len(packed), missing)
        return packed

    def _read_range(self, offset: int, size: int) -> bytes:
        if not hasattr(self._of_thread, "file"):
            self._of_thread.file = _open_for_ranges(self._path)
        try:
            self._of_thread.file.seek(offset)
            return self._of_thread.file.read(size)
        except Exception:
            # Whatever happened to it, the next attempt opens the archive again.
            del self._of_thread.file
            raise


@functools.lru_cache(maxsize=8)
def open_store(path: str) -> ImageStore:
    """Returns the store at `path`; a zip archive's directory is read once in each process."""
    return ImageZip(path) if path.lower().endswith(".zip") else ImageFolder(path)


def read_with_retries(store: ImageStore, path: str) -> bytes:
    """Reads an image; tries again after errors that may pass.

    Raises:
      FileNotFoundError: it is not there.
      READING_ERRORS: the last attempt's error.
    """
    try:
        return _retrying(store.read, path)
    except _MISSING as error:
        raise FileNotFoundError(path) from error
