"""The images a person means by files, folders, zip archives or gs:// addresses."""

import collections
import dataclasses
import functools
import lzma
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from etils import epath

from pix2seq_model.data.image_check import SUFFIXES
from pix2seq_model.errors import DataError

# What reading a damaged archive can raise.
_UNPACKING_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OverflowError),
    *(RuntimeError, NotImplementedError),
)
_MAX_FILE_BYTES = 500_000_000  # more is no photograph, and may be an archive made to fill memory


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """An image that can be read.

    Attributes:
      name: path relative to the folder or archive it was found in, unique among the sources.
      location: where it is, for messages.
      read: returns the encoded bytes; raises OSError or ValueError where that fails.
    """

    name: str
    location: str
    read: Callable[[], bytes]


class EndingFilter:
    """Takes the files that are called as images are, and counts the others.

    Attributes:
      left_out: number of files by their ending, in small letters; "" has none.
    """

    def __init__(self) -> None:
        self.left_out: collections.Counter[str] = collections.Counter()

    def takes(self, name: str) -> bool:
        """Whether a file is called as images are; hidden files are neither taken nor counted."""
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES:
            return True
        self.left_out[path.suffix.lower()] += not path.name.startswith(".")
        return False

    def refuse(self, place: str) -> DataError:
        """The error for a place where nothing was taken."""
        others = f"; {left_out_text(self.left_out)}" if self.left_out.total() else ""
        return DataError(
            f"{place}: no image found; looked for files that end in {', '.join(SUFFIXES)}{others}"
        )


def left_out_text(left_out: Mapping[str, int]) -> str:
    """A line for people, such as "2 files with other endings left out: .heic 2"; empty if none."""
    number = sum(left_out.values())
    each = ", ".join(
        f"{ending or 'none'} {count:,}" for ending, count in sorted(left_out.items()) if count
    )
    return (
        f"{number:,} file{'s' * (number != 1)} with other endings left out: {each}"
        if number
        else ""
    )


def find_images(
    places: Sequence[epath.PathLike], *, endings: EndingFilter | None = None
) -> list[ImageSource]:
    """All images of some places, by name within each place.

    Args:
      places: files (of any suffix), folders (with their subfolders, for SUFFIXES), zip archives
        (also for SUFFIXES), local or gs://.
      endings: counts what is left out of folders and archives.

    Raises:
      DataError: a place does not exist, an archive is damaged, or there is no image in any place.
    """
    found: dict[str, ImageSource] = {}
    endings = endings or EndingFilter()
    for place in places:
        for name, location, read in _images_of(epath.Path(place), endings):
            unique = _unique(name, found)
            found[unique] = ImageSource(unique, location, read)
    if not found:
        raise endings.refuse(", ".join(map(str, places)) or "--images")
    return list(found.values())


def _images_of(
    place: epath.Path, endings: EndingFilter
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    if place.is_dir():
        for path in _files_below(place):
            if endings.takes(path.name):
                yield str(path.relative_to(place)), str(path), path.read_bytes
    elif place.suffix.lower() == ".zip":
        yield from _images_of_archive(place, endings)
    else:
        yield place.name, str(place), place.read_bytes


def _files_below(folder: epath.Path) -> Iterator[epath.Path]:
    # By hand, because epath refuses to search subfolders.
    for is_folder, entry in sorted((entry.is_dir(), entry) for entry in folder.iterdir()):
        yield from _files_below(entry) if is_folder else (entry,)


def _images_of_archive(
    place: epath.Path, endings: EndingFilter
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(place.open("rb"))
    except zipfile.BadZipFile as error:
        raise DataError(f"{place}: not a zip archive that can be read ({error})") from None
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        hidden = any(p != ".." and p.startswith((".", "__MACOSX")) for p in path.parts)
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
    except _UNPACKING_ERRORS as error:
        raise ValueError(f"cannot be unpacked: {error}") from None


def _unique(name: str, taken: Container[str]) -> str:
    path, number, unique = PurePosixPath(name), 1, name
    while unique in taken:
        number += 1
        unique = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
    return unique
