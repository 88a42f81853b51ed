"""Which images a batch prediction reads, cut into shards.

A shard of work is one JSON object: {"files": [[path, size, version], ...]}, with the path of the
archive behind the version of a file in one, or, for a shard of an examples folder,
{"records": path, "shard": as in the manifest}.
"""

import dataclasses
import itertools
import os
import posixpath
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from components.prediction.options import PredictionOptions
from components.storage.files import file_exists, file_metadata, folder_exists, refusing
from components.storage.image_store import TAR_SUFFIXES, ImageZip
from pix2seq_model.data import manifest as dataset_info
from pix2seq_model.data.folder_walk import HIDDEN, is_hidden
from pix2seq_model.errors import DataError
from pix2seq_model.prediction.image_sources import EndingFilter

_LIST_SUFFIX = ".txt"
_ZIP = ".zip"
# Size and version of a file in a list, which is not looked at until it is read.
_UNKNOWN = [-1, -1]


def find_work(
    options: PredictionOptions, *, endings: EndingFilter | None = None
) -> Iterator[dict[str, Any]]:
    """Yields the shards of work, in the order of `options.images` and by name within each.

    Args:
      options: of the prediction.
      endings: counts what is left out of folders.

    Raises:
      DataError: a place does not exist, holds no image, or cannot be read.
    """
    endings = endings or EndingFilter()
    places = [place.rstrip("/") or "/" for place in options.images]
    for has_records, group in itertools.groupby(places, key=_has_records):
        if has_records:
            for place in group:
                yield from _record_shards(place, options.splits)
        else:
            rows = itertools.chain.from_iterable(_some_files(place, endings) for place in group)
            while files := list(itertools.islice(rows, options.images_per_shard)):
                yield {"files": files}


def _has_records(place: str) -> bool:
    return file_exists(f"{place}/{dataset_info.FILE_NAME}")


def _some_files(place: str, endings: EndingFilter) -> Iterator[list[Any]]:
    files = _files(place, endings)
    if (first := next(files, None)) is None:
        raise endings.refuse(place)
    yield first
    yield from files


def _record_shards(folder: str, splits: Iterable[str]) -> Iterator[dict[str, Any]]:
    info = dataset_info.read_dataset_info(folder)
    for split in splits or sorted(info.splits):
        shards = info.split(split).shards
        dataset_info.check_shards(folder, info, splits=[split])
        for path, shard in zip(info.shard_paths(folder, split), shards, strict=True):
            yield {"records": path, "shard": dataclasses.asdict(shard)}


def _files(place: str, endings: EndingFilter) -> Iterator[list[Any]]:
    if place.lower().endswith(TAR_SUFFIXES):
        raise DataError(
            f"{place} is an archive: unpack it first; `python pipelines/unpack_archives.py` does "
            "so for tar files"
        )
    file = file_metadata(place)
    is_here = file is not None or os.path.isdir(place)
    if any(character in place for character in "*?[") and not is_here:
        yield from map(_row, _matched(place))
    elif folder_exists(place):
        yield from _folder(place, endings)
    elif file is None:
        raise DataError(f"{place}: no such file or folder")
    elif place.lower().endswith(_ZIP):
        yield from _zipped(file, endings)
    elif place.lower().endswith(_LIST_SUFFIX):
        yield from _listed(place)
    else:
        yield _row(file)


def _folder(place: str, endings: EndingFilter) -> Iterator[list[Any]]:
    if "://" in place:
        for found in _matched(f"{place}/**"):
            hidden = any(map(is_hidden, found.path[len(place) + 1 :].split("/")[:-1]))
            endings.left_out[HIDDEN] += hidden
            if not hidden and endings.takes(found.path):
                yield _row(found)
        return
    # By hand: Beam would read brackets in a folder's name as a pattern.
    with refusing(f"{place} cannot be read"):
        for path in endings.files_below(place):
            file = file_metadata(path)
            # A broken link is an image that is missing, not one that does not exist.
            yield _row(file) if file else [path, *_UNKNOWN]


def _zipped(file: FileMetadata, endings: EndingFilter) -> Iterator[list[Any]]:
    """The images of an archive, as archive/name, with the archive's size and version and path."""
    size_and_version = _row(file)[1:]
    try:
        names = sorted(ImageZip(file.path).paths())
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{file.path}: not a zip archive that can be read ({error}); get it again"
        ) from None
    for name in names:
        hidden = any(is_hidden(part) for part in name.split("/")[:-1])
        endings.left_out[HIDDEN] += hidden
        if not hidden and endings.takes(name):
            yield [f"{file.path}/{name}", *size_and_version, file.path]


def _matched(pattern: str) -> list[FileMetadata]:
    with refusing(f"{pattern} cannot be read"):
        return sorted(FileSystems.match([pattern])[0].metadata_list, key=lambda file: file.path)


def _listed(place: str) -> Iterator[list[Any]]:
    """The paths in a text file; those that are not absolute start at the file's own folder."""
    root = posixpath.dirname(place if "://" in place else os.path.abspath(place))
    with FileSystems.open(place) as file:
        for number, line in enumerate(file, start=1):
            try:
                path = line.decode().strip()
            except UnicodeDecodeError:
                raise DataError(
                    f"{place}, line {number}: not text; a list holds one path on each line"
                ) from None
            if path:
                is_whole = "://" in path or path.startswith("/")
                yield [path if is_whole else f"{root}/{path}", *_UNKNOWN]


def _row(file: FileMetadata) -> list[Any]:
    return [file.path, file.size_in_bytes, int((file.last_updated_in_seconds or 0) * 1000)]
