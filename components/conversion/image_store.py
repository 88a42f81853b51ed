"""Reading images where they lie: a folder in any of the circulating layouts, or a zip archive.

Objects365's images are unpacked in three ways, so an image is looked for as `file_name`, then as
`patchN/basename`, then as `basename`. Local paths and `gs://` alike.
"""

import functools
import posixpath
import re
import time
import zipfile
from typing import NamedTuple, Protocol

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from components.conversion.folder import file_metadata

_PATCH = re.compile(r"(?:^|/)(patch\d+)/")
_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.5


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
    """Returns the paths under which an image may lie, in the order of looking."""
    name = posixpath.basename(file_name)
    paths = [file_name]
    if patch := _PATCH.search(file_name):
        paths.append(f"{patch[1]}/{name}")
    paths.append(name)
    return list(dict.fromkeys(paths))


def _is_local(path: str) -> bool:
    return "://" not in path


class ImageFolder:
    """Images in a folder."""

    def __init__(self, root: str):
        self._root = root

    def _full_path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def locate(self, file_name: str) -> Location | None:
        for path in candidate_paths(file_name):
            full_path = self._full_path(path)
            found = file_metadata(full_path)
            if found:
                version = int(found.last_updated_in_seconds * 1000)
                return Location(path, found.size_in_bytes, version)
        return None

    def read(self, path: str) -> bytes:
        full_path = self._full_path(path)
        if _is_local(full_path):
            with open(full_path, "rb") as file:
                return file.read()
        with FileSystems.open(full_path, mime_type="application/octet-stream") as file:
            return file.read()


class ImageZip:
    """Images in a zip archive, read in place; on `gs://` by ranges."""

    def __init__(self, path: str):
        # Not by suffix: the file system would else try to decompress the archive itself.
        self._zip = zipfile.ZipFile(
            open(path, "rb")  # noqa: SIM115 - open as long as this object is
            if _is_local(path)
            else FileSystems.open(path, compression_type="uncompressed")
        )
        self._by_name: dict[str, list[zipfile.ZipInfo]] = {}
        for info in self._zip.infolist():
            if not info.is_dir():
                self._by_name.setdefault(posixpath.basename(info.filename), []).append(info)

    def locate(self, file_name: str) -> Location | None:
        members = self._by_name.get(posixpath.basename(file_name), [])
        for path in candidate_paths(file_name):
            # Archives have a folder of their own at the top (`train2017/`), or none.
            for info in members:
                if info.filename == path or info.filename.endswith(f"/{path}"):
                    return Location(info.filename, info.file_size, info.CRC)
        return None

    def read(self, path: str) -> bytes:
        return self._zip.read(path)


@functools.lru_cache(maxsize=8)
def open_store(path: str) -> ImageStore:
    """Returns the store at `path`; a zip archive's directory is read once in each process."""
    return ImageZip(path) if path.lower().endswith(".zip") else ImageFolder(path)


def read_with_retries(store: ImageStore, path: str) -> bytes:
    """Reads an image; tries again after errors that may pass.

    Raises:
      FileNotFoundError: it is not there.
      OSError, BeamIOError, zipfile.BadZipFile: the last attempt's error.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return store.read(path)
        except FileNotFoundError:
            raise
        except (OSError, BeamIOError):
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
    raise AssertionError("unreachable")
