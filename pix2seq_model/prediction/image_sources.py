"""The images a person means by files, patterns, folders, zip archives or gs:// addresses."""

import collections
import dataclasses
import functools
import os
import zipfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from etils import epath

from pix2seq_model.data.folder_walk import HIDDEN, is_hidden, listed_files, walk_files
from pix2seq_model.data.image_check import SUFFIXES
from pix2seq_model.data.path_pattern import PathPattern, has_wildcards
from pix2seq_model.data.zip_directory import open_zip
from pix2seq_model.errors import DataError
from pix2seq_model.regular_file import regular_status

_MAX_FILE_BYTES = 500_000_000  # more is no photograph, and may be an archive made to fill memory


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """An image that can be read.

    Attributes:
      name: path relative to the folder or archive it was found in, unique among the sources.
      location: where it is, for messages.
      read: returns the encoded bytes, or of an image in memory its pixels, uint8 (height, width,
        3), RGB; raises OSError or ValueError where that fails.
      num_bytes: of the pixels that the source itself holds, decoded.
    """

    name: str
    location: str
    read: Callable[[], bytes | np.ndarray]
    num_bytes: int = dataclasses.field(default=0, kw_only=True)


class EndingFilter:
    """Takes the files that are called as images are, and counts the others.

    Attributes:
      left_out: number of files by their ending, in small letters, "" being none; and what
        `folder_walk` leaves out, by its words.
      output: folder that the command writes, see `folder_walk`.
    """

    def __init__(self, *, output: str = "") -> None:
        self.left_out: collections.Counter[str] = collections.Counter()
        self.output = output

    def takes(self, name: str) -> bool:
        """Whether a file is called as images are, and is not hidden; counts it if not."""
        if is_hidden(PurePosixPath(name).name):
            self.left_out[HIDDEN] += 1
            return False
        return self._takes_ending(name)

    def _takes_ending(self, name: str) -> bool:
        ending = PurePosixPath(name).suffix.lower()
        if ending in SUFFIXES:
            return True
        self.left_out[ending] += 1
        return False

    def files_below(self, folder: str) -> Iterator[str]:
        """The paths of the files in a folder and the folders in it that it takes."""
        for path in walk_files(folder, output=self.output, left_out=self.left_out):
            if self.takes(os.path.basename(path)):
                yield path

    def files_of(
        self, pattern: PathPattern, *, also: Callable[[str], bool] = lambda path: False
    ) -> list[str]:
        """The paths of the files of a pattern that it takes, by name.

        Args:
          pattern: local or gs://.
          also: takes files that are not called as images are.

        Raises:
          DataError: there is none.
        """
        found = []
        if _is_there(pattern.root):
            files = walk_files(
                pattern.root, output=self.output, pattern=pattern, left_out=self.left_out
            )
            skip = len(os.path.join(pattern.root, ""))
            for path in (pattern.start + path[skip:] for path in files):
                if also(path) or self.takes_of(pattern, path):
                    found.append(path)
        if not found:
            raise self.refuse_pattern(pattern)
        return sorted(found)

    def takes_of(self, pattern: PathPattern, path: str) -> bool:
        """Whether it takes a file that `folder_walk` found of a pattern.

        An ending that the pattern names is meant so, and so are hidden files that were found.
        """
        return pattern.names_an_ending or self._takes_ending(path)

    def refuse(self, place: str) -> DataError:
        """The error for a place where nothing was taken."""
        return DataError(
            f"{place}: no image found; looked for files that end in {', '.join(SUFFIXES)}"
            f"{self._others()}"
        )

    def refuse_pattern(self, pattern: PathPattern) -> DataError:
        """The error for a pattern of which nothing was taken."""
        why = "write FOLDER/*.jpg, or FOLDER/**/*.jpg for those in the folders below too"
        if "://" not in pattern.root and not os.path.isdir(pattern.root):
            why = f"there is no folder {pattern.root}"
        return DataError(f"{pattern}: no file is called so; {why}{self._others()}")

    def _others(self) -> str:
        return f"; {left_out_text(self.left_out)}" if self.left_out.total() else ""


def left_out_text(left_out: Mapping[str, int]) -> str:
    """A line for people, such as "2 files with other endings left out: .heic 2"; empty if none."""
    counts = {name: count for name, count in sorted(left_out.items()) if count}
    walked = {name: count for name, count in counts.items() if name and name[0] != "."}
    endings = {name: count for name, count in counts.items() if name not in walked}
    number = sum(endings.values())
    each = ", ".join(f"{ending or 'none'} {count:,}" for ending, count in endings.items())
    texts = [f"{number:,} file{'s' * (number != 1)} with other endings left out: {each}"]
    others = ", ".join(f"{name} {count:,}" for name, count in walked.items())
    return "; ".join(texts * bool(endings) + [f"left out: {others}"] * bool(walked))


def find_images(
    places: Sequence[epath.PathLike], *, endings: EndingFilter | None = None
) -> list[ImageSource]:
    """All images of some places, by name within each place.

    Args:
      places: files (of any suffix), patterns such as photos/*.jpg (of any suffix that the pattern
        names, else for SUFFIXES), folders (with their subfolders, for SUFFIXES), zip archives (also
        for SUFFIXES), local or gs://.
      endings: counts what is left out of folders, patterns and archives.

    Raises:
      DataError: a place does not exist, an archive is damaged, or there is no image in any place.
      ConfigError: a pattern that cannot be.
    """
    found: dict[str, ImageSource] = {}
    endings = endings or EndingFilter()
    for place in places:
        for name, location, read in _images_of(epath.Path(place), endings):
            unique = unique_name(name, found)
            found[unique] = ImageSource(unique, location, read)
    if not found:
        raise endings.refuse(", ".join(map(str, places)) or "--images")
    return list(found.values())


def _images_of(
    place: epath.Path, endings: EndingFilter
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    if is_pattern(place):
        for path in map(epath.Path, endings.files_of(PathPattern(os.fspath(place)))):
            yield from _images_of_file(path, endings)
        return
    if not _exists(place):
        raise DataError(f"{place}: no such file or folder")
    if place.is_dir():
        for path in map(epath.Path, endings.files_below(os.fspath(place))):
            yield str(path.relative_to(place)), str(path), functools.partial(read_file, path)
    else:
        yield from _images_of_file(place, endings)


def _images_of_file(
    place: epath.Path, endings: EndingFilter
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    if place.suffix.lower() == ".zip":
        yield from _images_of_archive(place, endings)
    else:
        yield place.name, str(place), functools.partial(read_file, place)


def is_pattern(place: epath.PathLike) -> bool:
    """Whether a place is a pattern such as photos/*.jpg, and no file of that name."""
    return has_wildcards(place) and not _exists(epath.Path(place))


def _is_there(folder: str) -> bool:
    return os.path.isdir(folder) if _is_here(epath.Path(folder)) else epath.Path(folder).is_dir()


def _exists(place: epath.Path) -> bool:
    if _is_here(place):
        return os.path.exists(place)  # Unlike `Path.exists` of names that are too long, too.
    return place.exists()


def _is_here(place: epath.Path) -> bool:
    return "://" not in os.fspath(place)


def read_file(path: epath.Path) -> bytes:
    """The content of a file; raises OSError if it is none that can be read to its end."""
    if _is_here(path):
        status = regular_status(path)
        if status is None:
            raise FileNotFoundError("no regular file")
        if status.st_size > _MAX_FILE_BYTES:
            raise ValueError(f"has {status.st_size:,} bytes")
    return path.read_bytes()


def _images_of_archive(
    place: epath.Path, endings: EndingFilter
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    if _is_here(place) and regular_status(place) is None:
        raise DataError(f"{place}: no regular file, so no zip archive")
    archive = open_zip(place.open("rb"), place=str(place))
    entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
    entries = [entry for entry in entries if not entry.is_dir()]
    names = [entry.filename for entry in entries]
    read_name = functools.partial(_read_member, archive)
    taken = set(listed_files(names, read=read_name, place=str(place), left_out=endings.left_out))
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if entry.filename in taken and endings.takes(path.name):
            # A name from an archive may try to lead out of the folder that it is written to.
            parts = [part for part in path.parts if part not in ("/", "..")]
            read = functools.partial(_read_entry, archive, entry)
            yield str(PurePosixPath(*parts)), f"{place}/{entry.filename}", read


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a file; nothing if it cannot be unpacked."""
    try:
        return _read_entry(archive, archive.getinfo(name))
    except ValueError:
        return b""


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > _MAX_FILE_BYTES:
        raise ValueError(f"unpacks to {entry.file_size:,} bytes")
    try:
        return archive.read(entry)
    except Exception as error:  # Whatever an odd entry makes of `zipfile`, a missing key as well.
        raise ValueError(f"cannot be unpacked: {error}") from None


def unique_name(name: str, taken: Container[str]) -> str:
    """The name, or if it is taken the first of name_2, name_3, ... that is not."""
    path, number, unique = PurePosixPath(name), 1, name
    while unique in taken:
        number += 1
        unique = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
    return unique
