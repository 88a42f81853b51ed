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

from pix2seq_model.data.folder_walk import HIDDEN, is_hidden, walk_files
from pix2seq_model.data.image_check import SUFFIXES
from pix2seq_model.data.zip_directory import open_zip
from pix2seq_model.errors import DataError
from pix2seq_model.regular_file import regular_status

_WILDCARDS = frozenset("*?[")
_MAX_FILE_BYTES = 500_000_000  # more is no photograph, and may be an archive made to fill memory


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """An image that can be read.

    Attributes:
      name: path relative to the folder or archive it was found in, unique among the sources.
      location: where it is, for messages.
      read: returns the encoded bytes, or of an image in memory its pixels, uint8 (height, width,
        3), RGB; raises OSError or ValueError where that fails.
    """

    name: str
    location: str
    read: Callable[[], bytes | np.ndarray]


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
        path = PurePosixPath(name)
        if is_hidden(path.name):
            self.left_out[HIDDEN] += 1
            return False
        if path.suffix.lower() in SUFFIXES:
            return True
        self.left_out[path.suffix.lower()] += 1
        return False

    def files_below(self, folder: str) -> Iterator[str]:
        """The paths of the files in a local folder and the folders in it that it takes."""
        for path in walk_files(folder, output=self.output, left_out=self.left_out):
            if self.takes(os.path.basename(path)):
                yield path

    def refuse(self, place: str) -> DataError:
        """The error for a place where nothing was taken."""
        others = f"; {left_out_text(self.left_out)}" if self.left_out.total() else ""
        return DataError(
            f"{place}: no image found; looked for files that end in {', '.join(SUFFIXES)}{others}"
        )


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
      places: files (of any suffix), patterns such as photos/*.jpg (too), folders (with their
        subfolders, for SUFFIXES), zip archives (also for SUFFIXES), local or gs://.
      endings: counts what is left out of folders and archives.

    Raises:
      DataError: a place does not exist, an archive is damaged, or there is no image in any place.
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
        for path in matched_files(place):
            yield path.name, str(path), functools.partial(read_file, path)
        return
    if not _exists(place):
        raise DataError(f"{place}: no such file or folder")
    if place.is_dir():
        for path in _files_below(place, endings):
            yield str(path.relative_to(place)), str(path), functools.partial(read_file, path)
    elif place.suffix.lower() == ".zip":
        yield from _images_of_archive(place, endings)
    else:
        yield place.name, str(place), functools.partial(read_file, place)


def is_pattern(place: epath.PathLike) -> bool:
    """Whether a place is a pattern such as photos/*.jpg, and no file of that name."""
    return bool(_WILDCARDS & set(str(place))) and not _exists(epath.Path(place))


def matched_files(pattern: epath.Path) -> list[epath.Path]:
    """The files of a pattern, whatever their ending; ** stands for any folders below."""
    parts = pattern.parts
    fixed = next(n for n, part in enumerate(parts) if _WILDCARDS & set(part))
    root = epath.Path(*parts[:fixed]) if fixed else epath.Path(".")
    found = sorted(path for path in root.glob("/".join(parts[fixed:])) if not path.is_dir())
    if not found:
        raise DataError(f"{pattern}: no file is called so")
    return found


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


def _files_below(folder: epath.Path, endings: EndingFilter) -> Iterator[epath.Path]:
    if _is_here(folder):
        yield from map(epath.Path, endings.files_below(str(folder)))
        return
    # By hand, because epath refuses to search subfolders.
    for is_folder, entry in sorted((entry.is_dir(), entry) for entry in folder.iterdir()):
        if is_folder and is_hidden(entry.name):
            endings.left_out[HIDDEN] += 1
        elif is_folder:
            yield from _files_below(entry, endings)
        elif endings.takes(entry.name):
            yield entry


def _images_of_archive(
    place: epath.Path, endings: EndingFilter
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    if _is_here(place) and regular_status(place) is None:
        raise DataError(f"{place}: no regular file, so no zip archive")
    archive = open_zip(place.open("rb"), place=str(place))
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        hidden = any(p != ".." and is_hidden(p) for p in path.parts[:-1])
        endings.left_out[HIDDEN] += hidden and not entry.is_dir()
        if not entry.is_dir() and not hidden and endings.takes(path.name):
            # A name from an archive may try to lead out of the folder that it is written to.
            parts = [part for part in path.parts if part not in ("/", "..")]
            read = functools.partial(_read_entry, archive, entry)
            yield str(PurePosixPath(*parts)), f"{place}/{entry.filename}", read


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
