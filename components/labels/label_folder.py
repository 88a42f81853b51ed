"""A folder in which labels or images lie, listed once."""

import functools
import itertools
import posixpath
from collections.abc import Iterable, Iterator
from concurrent import futures

from components.storage.files import file_exists, folder_exists, list_files, open_file, refusing
from components.storage.image_names import NameIndex, split_roles
from components.storage.image_store import ImageStore, open_store
from pix2seq_model.data.image_check import SUFFIXES
from pix2seq_model.errors import DataError

_READING_THREADS = 16
_READ_AHEAD = 256
# What systems and tools leave beside the data.
_HIDDEN = (".", "__MACOSX", "@eaDir")


class LabelFolder:
    """The files of a folder, local or in a bucket, or of a zip archive of images.

    Attributes:
      root: Its place.

    Raises:
      DataError: there is no such folder.
    """

    def __init__(self, root: str):
        self.root = root.rstrip("/")
        if not folder_exists(self.root) and not file_exists(self.root):
            raise DataError(f"{root}: there is no such folder")

    @functools.cached_property
    def files(self) -> list[str]:
        """The paths of all files inside the folder, sorted; hidden ones left out."""
        with refusing(f"{self.root} cannot be listed"):
            if self.root.lower().endswith(".zip"):
                paths = self.store.paths()
            else:
                paths = list_files(self.root)
            return sorted(p for p in paths if not f"/{p}".count("/.") and not p.startswith(_HIDDEN))

    @functools.cached_property
    def store(self) -> ImageStore:
        return open_store(self.root)

    @functools.cached_property
    def images(self) -> list[str]:
        """The files that are images by their names."""
        return [path for path in self.files if path.lower().endswith(SUFFIXES)]

    @functools.cached_property
    def image_index(self) -> NameIndex:
        return NameIndex(self.images)

    def images_called(self, stem: str) -> list[str]:
        """The images with this name, whatever their kind."""
        found = self.image_index.like([f"{stem}.x"])
        return [path for path in found if posixpath.splitext(posixpath.basename(path))[0] == stem]

    @functools.cached_property
    def folders(self) -> set[str]:
        """All folders that have files in or below them."""
        found = set()
        for folder in {posixpath.dirname(path) for path in self.files}:
            while folder:
                found.add(folder)
                folder = posixpath.dirname(folder)
        return found

    def with_suffix(self, *suffixes: str) -> list[str]:
        """The files with one of these suffixes, those nearest to the root first."""
        found = [path for path in self.files if path.lower().endswith(suffixes)]
        return sorted(found, key=lambda path: (path.count("/"), path))

    def read(self, path: str, size: int = -1) -> bytes:
        """Returns the content of a file, or its first bytes.

        Raises:
          DataError: it cannot be read.
        """
        with (
            refusing(f"{self.root}/{path} cannot be read"),
            open_file(f"{self.root}/{path}") as file,
        ):
            return file.read(size) if size >= 0 else file.read()

    def text(self, path: str) -> str:
        """Returns the content of a text file."""
        return self.read(path).decode(errors="replace").removeprefix("\ufeff")

    def read_all(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yields (path, content) in order; reads ahead, as each file in a bucket takes time."""
        waiting = iter(paths)
        with futures.ThreadPoolExecutor(_READING_THREADS) as threads:
            while some := list(itertools.islice(waiting, _READ_AHEAD)):
                yield from zip(some, threads.map(self.read, some), strict=True)


def only_role(path: str) -> str:
    """The split that a path says: "train", "val", "test"; empty if it says none or several."""
    roles = split_roles(path.split("/"))
    return roles.pop() if len(roles) == 1 else ""
