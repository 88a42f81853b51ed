"""A folder in which labels or images lie, listed once."""

import codecs
import functools
import itertools
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent import futures

from components.storage.files import (
    file_exists,
    folder_exists,
    list_files,
    open_file,
    read_whole,
    refusing,
)
from components.storage.image_names import NO_PHOTOGRAPHS, NameIndex, split_role
from components.storage.image_store import ImageStore, open_store
from pix2seq_model.data.folder_walk import is_hidden_path
from pix2seq_model.data.image_check import SUFFIXES
from pix2seq_model.errors import DataError

_READING_THREADS = 16
_READ_AHEAD = 256


class LabelFolder:
    """The files of a folder, local or in a bucket, or of a zip archive of images.

    Attributes:
      root: its place.

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
            return sorted(p for p in paths if not is_hidden_path(p))

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

    @functools.cached_property
    def _images_by_stem(self) -> dict[str, list[str]]:
        return by_stem(self.images)

    def images_called(self, stem: str) -> list[str]:
        """The images with this name, whatever their kind; masks only if there are no others."""
        found = self._images_by_stem.get(name_key(stem), [])
        if len(found) > 1:
            found = [p for p in found if not is_of_masks(posixpath.dirname(p))] or found
        return found

    @functools.cached_property
    def _num_shared(self) -> int:
        """So many folders all files are in."""
        first, last = (path.split("/")[:-1] for path in (self.files[0], self.files[-1]))
        return sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last))
        )

    def split_of(self, path: str) -> str:
        """The split that a path says, but for words in the folders that all files are in."""
        return split_role(path, top=self._num_shared if self.files else 0)

    def nearest(self, paths: list[str], labels: str, *, split: str) -> list[str]:
        """Of several images of a name those that are meant by a path of labels.

        The ones in the labels' folder, else of the split, else with most folders in common.
        """
        if len(paths) < 2:
            return paths
        folder = posixpath.dirname(labels)
        if beside := [path for path in paths if posixpath.dirname(path) == folder]:
            return beside
        paths = [
            p for p in paths if split and self.split_of(posixpath.dirname(p)) == split
        ] or paths
        near = [nearness(posixpath.dirname(path), folder) for path in paths]
        return [path for path, value in zip(paths, near) if value == max(near)]

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
        if self.root.lower().endswith(".zip"):
            raise DataError(f"{self.root} has labels in it ({path}): unpack it and give the folder")
        with refusing(f"{self.root}/{path} cannot be read"):
            if size < 0:
                return read_whole(f"{self.root}/{path}")
            with open_file(f"{self.root}/{path}") as file:
                return file.read(size)

    def text(self, path: str) -> str:
        """Returns the content of a text file.

        Raises:
          DataError: it cannot be read, or is neither UTF-8 nor UTF-16.
        """
        try:
            return decoded(self.read(path))
        except UnicodeDecodeError as error:
            raise DataError(f"{self.root}/{path} is not UTF-8 ({error}): save it as such") from None

    def read_all(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yields (path, content) in order; reads ahead, as each file in a bucket takes time."""
        waiting = iter(paths)
        with futures.ThreadPoolExecutor(_READING_THREADS) as threads:
            while some := list(itertools.islice(waiting, _READ_AHEAD)):
                yield from zip(some, threads.map(self.read, some), strict=True)


def decoded(content: bytes, errors: str = "strict") -> str:
    """Returns text in UTF-8, or in UTF-16 as Windows marks it."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf_16 else "utf-8", errors).removeprefix("\ufeff")


def name_key(path: str) -> str:
    """Returns the same for spellings that differ in case or in Unicode's normal form."""
    return (path if path.isascii() else unicodedata.normalize("NFC", path)).lower()


def stem_of(path: str) -> str:
    """Returns the base name of a path without its suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


def by_stem(paths: Iterable[str]) -> dict[str, list[str]]:
    """Returns the paths by the keys of their stems."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(name_key(stem_of(path)), []).append(path)
    return found


@functools.lru_cache(maxsize=1 << 16)  # Videos have a frame of each name, and few folders.
def nearness(first: str, second: str) -> int:
    """Returns how many folders two folders share, from the root on and from their ends."""
    ours, theirs = (folder.split("/") if folder else [] for folder in (first, second))
    pairs = [(ours, theirs), (ours[::-1], theirs[::-1])]
    shared = (itertools.takewhile(lambda p: p[0] == p[1], zip(*pair)) for pair in pairs)
    return sum(1 for same in shared for _ in same)


@functools.lru_cache(maxsize=1 << 12)
def is_of_masks(folder: str) -> bool:
    """Whether a folder's name says that its images are no photographs."""
    return bool(NO_PHOTOGRAPHS.search(folder))
