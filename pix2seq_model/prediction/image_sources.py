"""The images a person means by files, folders, zip archives or gs:// addresses."""

import dataclasses
import functools
import zipfile
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import PurePosixPath

from etils import epath

from pix2seq_model.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
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


def find_images(places: Sequence[epath.PathLike]) -> list[ImageSource]:
    """All images of some places, by name within each place.

    Args:
      places: files (of any suffix), folders (with their subfolders, for SUFFIXES), zip archives
        (also for SUFFIXES), local or gs://.

    Raises:
      DataError: a place does not exist, an archive is damaged, or there is no image in any place.
    """
    found: dict[str, ImageSource] = {}
    for place in places:
        for name, location, read in _images_of(epath.Path(place)):
            unique = _unique(name, found)
            found[unique] = ImageSource(unique, location, read)
    if not found:
        raise DataError(
            f"{', '.join(map(str, places)) or '--images'}: no image found; looked for files that "
            f"end in {', '.join(SUFFIXES)}"
        )
    return list(found.values())


def _images_of(place: epath.Path) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    if place.is_dir():
        for path in _files_below(place):
            if path.suffix.lower() in SUFFIXES:
                yield str(path.relative_to(place)), str(path), path.read_bytes
    elif place.suffix.lower() == ".zip":
        yield from _images_of_archive(place)
    else:
        yield place.name, str(place), place.read_bytes


def _files_below(folder: epath.Path) -> Iterator[epath.Path]:
    # By hand, because epath refuses to search subfolders.
    for is_folder, entry in sorted((entry.is_dir(), entry) for entry in folder.iterdir()):
        yield from _files_below(entry) if is_folder else (entry,)


def _images_of_archive(place: epath.Path) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(place.open("rb"))
    except zipfile.BadZipFile as error:
        raise DataError(f"{place}: not a zip archive that can be read ({error})") from None
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        hidden = any(p != ".." and p.startswith((".", "__MACOSX")) for p in path.parts)
        if not entry.is_dir() and path.suffix.lower() in SUFFIXES and not hidden:
            # A name from an archive may try to lead out of the folder that it is written to.
            parts = [part for part in path.parts if part not in ("/", "..")]
            read = functools.partial(_read_entry, archive, entry)
            yield str(PurePosixPath(*parts)), f"{place}/{entry.filename}", read


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > _MAX_FILE_BYTES:
        raise ValueError(f"unpacks to {entry.file_size:,} bytes")
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"cannot be unpacked: {error}") from None


def _unique(name: str, taken: Container[str]) -> str:
    path, number, unique = PurePosixPath(name), 1, name
    while unique in taken:
        number += 1
        unique = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
    return unique
