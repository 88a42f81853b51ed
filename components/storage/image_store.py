"""Reading images in place: from a folder or from a zip archive, local or on `gs://`.

An image is looked for as its `file_name`, Objects365's also as `patchN/basename` and as `basename`,
and only where it is not there among the names of all files, which are then listed once. A
conversion lists a bucket's folder once for all its workers: see `conversion.list_images`.
"""

import abc
import contextlib
import functools
import posixpath
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import BinaryIO, NamedTuple

import tenacity
from apache_beam.io.filesystem import FileMetadata
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud.storage.exceptions import DataCorruption

from components.storage import bucket
from components.storage.files import file_metadata, list_files, open_file, read_whole
from components.storage.image_names import EXACT, PARTIAL, NameIndex, match_name
from pix2seq_model.data.zip_directory import open_zip
from pix2seq_model.errors import UnavailableError

# Archives that cannot be read in place.
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_PASSING_ERRORS = (OSError, GoogleAPIError, DataCorruption)
_ATTEMPTS = 4
_PATCH = re.compile(r"(?:^|/)(patch\d+)/")
_MISSING = (FileNotFoundError, NotFound)
_retrying = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(_PASSING_ERRORS)
    & tenacity.retry_if_not_exception_type(_MISSING),
    stop=tenacity.stop_after_attempt(_ATTEMPTS),
    wait=tenacity.wait_exponential(multiplier=0.5),  # seconds: 0.5, 1, 2
    reraise=True,
)
# Beam's own reader of gs:// fetches 16 MB for each place that is read.
_RANGE_BYTES = 1 << 16
_ENCRYPTED = 1
_NAME_IS_UTF8 = 0x800
# A member's own header: of interest are the lengths of its name and of what else precedes the data.
_HEADER = struct.Struct("<26xHH")
_USUAL_EXTRA = 64
# What deflate adds to what it cannot pack is some bytes for each 16 kB.
_MOST_PACKING_ADDS = 1 << 20
# No file is larger: where a directory says more, the system is not asked.
_MOST_ARCHIVE_BYTES = 1 << 62


class Location(NamedTuple):
    """Where an image was found.

    Attributes:
      path: inside the store, for `read`.
      size: bytes.
      version: changes when the file changes: its time, or its checksum inside an archive.
    """

    path: str
    size: int
    version: int


class Found(NamedTuple):
    """The answer to a search.

    Attributes:
      location: None if the image is not there, or if it is not certain which file it is.
      rank, rule, detail: as of `NameMatch`.
    """

    location: Location | None
    rank: int = PARTIAL
    rule: str = ""
    detail: str = ""


class ImageStore(abc.ABC):
    """A place with images; its methods may be called from several threads.

    Attributes:
      place: a folder or a zip archive.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._lock = threading.Lock()
        self._names: NameIndex | None = None

    def locate(self, file_name: str, *, split: str = "", splits: Collection[str] = ()) -> Found:
        """Finds an image.

        Args:
          file_name: as the annotation file has it.
          split, splits: the image's, and all of the conversion: their folders are known by them.
        """
        if found := self.locate_by_path(file_name):
            return found
        with self._lock:
            self._names = self._names or self._index()
        match = match_name(file_name, self._names, split=split, splits=splits)
        if not match.path:
            return Found(None, *match[1:])
        if location := self._location(match.path):
            return Found(location, *match[1:])
        detail = f"{file_name}: {match.path} is a broken link, a pipe or a device"
        return Found(None, PARTIAL, "image_missing", detail)

    def locate_by_path(self, file_name: str) -> Found | None:
        """Finds an image where its name says that it is, without a list of all files."""
        for path in _usual_paths(file_name):
            if location := self._location(path):
                return Found(location, EXACT if path == file_name else PARTIAL)
        return None

    def _index(self) -> NameIndex:
        return NameIndex(self.paths())

    @abc.abstractmethod
    def read(self, path: str) -> bytes:
        """Returns the file at a `Location.path`."""

    @abc.abstractmethod
    def _location(self, path: str) -> Location | None:
        """Whether a file is there by exactly this path."""

    @abc.abstractmethod
    def paths(self) -> Iterable[str]:
        """Yields the paths of all files."""


def _usual_paths(file_name: str) -> list[str]:
    if file_name.startswith("/") or "://" in file_name or ".." in file_name.split("/"):
        return []
    if not (patch := _PATCH.search(file_name)):
        return [file_name]
    name = posixpath.basename(file_name)
    return [file_name, f"{patch[1]}/{name}", name]


def _open_for_ranges(path: str) -> BinaryIO:
    if bucket.is_in_bucket(path):
        return bucket.open_object(path, part_bytes=_RANGE_BYTES)
    return open_file(path)


def location_of(file: FileMetadata, *, place: str) -> Location:
    """Returns where a file is inside a folder."""
    version = int(file.last_updated_in_seconds * 1000)
    return Location(file.path.removeprefix(f"{place}/"), file.size_in_bytes, version)


class ImageFolder(ImageStore):
    """Images in a folder."""

    def __init__(self, root: str):
        super().__init__(root.rstrip("/"))

    def _location(self, path: str) -> Location | None:
        # What a bucket's list lacks need not be asked for: two requests for each image.
        if self._names and "://" in self.place and path not in self._names:
            return None
        if found := file_metadata(f"{self.place}/{path}"):
            return location_of(found, place=self.place)
        return None

    def paths(self) -> Iterable[str]:
        return list_files(self.place)

    def read(self, path: str) -> bytes:
        return read_whole(f"{self.place}/{path}")


class ListedFolder(ImageFolder):
    """A folder of which it is known what it holds, or what it holds under some names.

    Args:
      root: the folder.
      files: by their paths inside the folder.
      top: the folders that all files of the folder have in common, see `NameIndex`.
    """

    def __init__(self, root: str, files: Mapping[str, Location], *, top: str):
        super().__init__(root)
        self._files, self._top = files, top

    def _location(self, path: str) -> Location | None:
        return self._files.get(path)

    def paths(self) -> Iterable[str]:
        return self._files

    def _index(self) -> NameIndex:
        return NameIndex(self._files, top=self._top)


class ImageZip(ImageStore):
    """Images in a zip archive, read in place; on `gs://` by ranges.

    Its directory is read once. Each thread has the archive open for itself, so that several images
    are read at a time; Python's own `ZipFile` lets one thread read after the other.
    """

    def __init__(self, path: str):
        super().__init__(path)
        self._of_thread = threading.local()
        with _open_for_ranges(path) as file, open_zip(file, place=path) as archive:
            self._members = {_name(m): m for m in archive.infolist() if not m.is_dir()}

    def _location(self, path: str) -> Location | None:
        member = self._members.get(path)
        return Location(path, member.file_size, member.CRC) if member else None

    def paths(self) -> Iterable[str]:
        # A Mac puts its own notes on each file next to them.
        return (path for path in self._members if not path.startswith("__MACOSX/"))

    def all_paths(self) -> Iterable[str]:
        """The paths of all files, such notes too."""
        return self._members

    def read(self, path: str) -> bytes:
        member = self._members[path]
        is_encrypted, method = member.flag_bits & _ENCRYPTED, member.compress_type
        if is_encrypted or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            how = "encrypted" if is_encrypted else f"packed by method {method}"
            raise zipfile.BadZipFile(f"{path} is {how}; unpack {self.place} and name the folder")
        data = self._packed(member)
        if method == zipfile.ZIP_DEFLATED:
            try:
                # One byte more than announced is enough to see that the size is wrong.
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
            except zlib.error as error:
                raise zipfile.BadZipFile(f"{path} is damaged in {self.place}: {error}") from None
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise zipfile.BadZipFile(f"{path} is damaged in {self.place}: wrong checksum")
        return data

    def _packed(self, member: zipfile.ZipInfo) -> bytes:
        """The bytes of a member as they are in the archive, mostly in one read."""
        offset, size = member.header_offset, member.compress_size
        if not 0 <= offset < _MOST_ARCHIVE_BYTES:
            raise zipfile.BadZipFile(f"{member.filename} cannot be where {self.place} says")
        if size > member.file_size + _MOST_PACKING_ADDS:
            raise zipfile.BadZipFile(
                f"{member.filename} is said to be larger packed than unpacked in {self.place}"
            )
        name_size = len(member.filename.encode())
        start = self._read_range(offset, _HEADER.size + name_size + _USUAL_EXTRA + size)
        if len(start) < _HEADER.size or not start.startswith(b"PK\3\4"):
            raise zipfile.BadZipFile(
                f"{member.filename} is not where {self.place}'s directory says"
            )
        begin = _HEADER.size + sum(_HEADER.unpack_from(start))
        packed = start[begin : begin + size]
        if missing := size - len(packed):
            packed += self._read_range(offset + begin + len(packed), missing)
        return packed

    def _read_range(self, offset: int, size: int) -> bytes:
        if bucket.is_in_bucket(self.place):
            return bucket.read_range(self.place, offset, size)
        if not hasattr(self._of_thread, "file"):
            self._of_thread.file = _open_for_ranges(self.place)
        try:
            self._of_thread.file.seek(offset)
            return self._of_thread.file.read(size)
        except Exception:
            # Whatever happened to it, the next attempt opens the archive again.
            del self._of_thread.file
            raise


def _name(member: zipfile.ZipInfo) -> str:
    """A member's name; a Mac's archives are UTF-8 and do not say so."""
    if not member.flag_bits & _NAME_IS_UTF8 and not member.filename.isascii():
        with contextlib.suppress(UnicodeError):
            return member.filename.encode("cp437").decode()
    return member.filename


@functools.lru_cache(maxsize=8)
def open_store(path: str) -> ImageStore:
    """Returns the store at `path`; a zip archive's directory is read once in each process."""
    return ImageZip(path) if path.lower().endswith(".zip") else ImageFolder(path)


def read_with_retries(store: ImageStore, path: str) -> bytes:
    """Reads an image; tries again after errors that may pass.

    Raises:
      FileNotFoundError: it is not there.
      BadZipFile: it is damaged in its archive.
      UnavailableError: no attempt succeeded, or it may not be read. It says nothing of the
        image, so it is no defect: an image that is given up for an hour without a network would be
        lost for good.
    """
    try:
        return _retrying(store.read, path)
    except _MISSING as error:
        raise FileNotFoundError(path) from error
    except _PASSING_ERRORS as error:
        raise UnavailableError(
            f"{path} in {store.place} could not be read in {_ATTEMPTS} attempts: {error}. Run the "
            "same command again when it can be: what is finished is kept. An image that can never "
            "be read counts as missing once its file is removed."
        ) from error
