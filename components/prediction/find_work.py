"""Which images a batch prediction reads, cut into shards.

A shard of work is one JSON object: {"files": [[path, size, version], ...]}, with the path of the
archive behind the version of a file in one, or, for a shard of an examples folder,
{"records": path, "shard": as in the manifest, "labels": ids of the manifest's categories}.
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
from components.storage import bucket
from components.storage.files import (
    file_exists,
    file_metadata,
    folder_exists,
    list_store,
    open_unpacked,
    read_whole,
    refusing,
)
from components.storage.image_store import TAR_SUFFIXES, ImageZip
from pix2seq_model.data import manifest as dataset_info
from pix2seq_model.data.folder_walk import TELLING_NAMES, listed_files
from pix2seq_model.data.path_pattern import PathPattern, has_wildcards
from pix2seq_model.data.shard_check import check_counted_labels
from pix2seq_model.errors import DataError
from pix2seq_model.prediction.image_sources import EndingFilter
from pix2seq_model.store_access import check_reachable

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
      endings: counts what is left out of folders, patterns and archives.

    Raises:
      DataError: a place does not exist, holds no image, cannot be read, or is an examples folder
        that is not what its manifest says.
      ConfigError: a pattern that cannot be.
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
    labels = sorted(info.category_names())
    for split in splits or sorted(info.splits):
        shards = info.split(split).shards
        dataset_info.check_shards(folder, info, splits=[split])
        check_counted_labels(folder, info, split)
        for path, shard in zip(info.shard_paths(folder, split), shards, strict=True):
            yield {"records": path, "shard": dataclasses.asdict(shard), "labels": labels}


def _files(place: str, endings: EndingFilter) -> Iterator[list[Any]]:
    if place.lower().endswith(TAR_SUFFIXES):
        raise DataError(
            f"{place} is an archive: unpack it first; `python pipelines/unpack_archives.py` does "
            "so for tar files"
        )
    file = file_metadata(place)
    if has_wildcards(place) and file is None and not _is_folder_of_that_name(place):
        yield from _files_of_pattern(PathPattern(place), endings)
    elif folder_exists(place):
        yield from _folder(place, endings)
    elif file is None:
        raise DataError(f"{place}: no such file or folder")
    elif place.lower().endswith(_LIST_SUFFIX):
        yield from _listed(place)
    else:
        yield from _file(file, endings)


def _is_folder_of_that_name(place: str) -> bool:
    # Of other stores Beam would list what fits the pattern.
    return ("://" not in place or bucket.is_in_bucket(place)) and folder_exists(place)


def _file(file: FileMetadata, endings: EndingFilter) -> Iterator[list[Any]]:
    if file.path.lower().endswith(_ZIP):
        yield from _zipped(file, endings)
    else:
        yield _row(file)


def _local_file(path: str, endings: EndingFilter) -> Iterator[list[Any]]:
    if file := file_metadata(path):
        yield from _file(file, endings)
    else:  # A broken link is an image that is missing, not one that does not exist.
        yield [path, *_UNKNOWN]


def _files_of_pattern(pattern: PathPattern, endings: EndingFilter) -> Iterator[list[Any]]:
    with refusing(f"{pattern} cannot be read"):
        if "://" in pattern.root:
            for file in _listed_in_store(pattern, endings):
                yield from _file(file, endings)
        else:
            for path in endings.files_of(pattern):
                yield from _local_file(path, endings)


def _listed_in_store(pattern: PathPattern, endings: EndingFilter) -> list[FileMetadata]:
    # All below the fixed beginning of the pattern, which Beam's own patterns take to mean others.
    match = FileSystems.match([f"{pattern.literal}**"])[0]
    files = {file.path: file for file in match.metadata_list}
    # Whose folder the root is shows from files that the pattern may not begin like.
    names = {f"{pattern.start}{name}" for name in TELLING_NAMES} - files.keys()
    files |= {name: file for name in names if (file := file_metadata(name))}
    taken = [
        path
        for path in _looked_at(sorted(files), pattern.root, endings, pattern=pattern)
        if endings.takes_of(pattern, path)
    ]
    if not taken:
        raise endings.refuse_pattern(pattern)
    return [files[path] for path in taken]


def _looked_at(
    paths: list[str], folder: str, endings: EndingFilter, *, pattern: PathPattern | None = None
) -> Iterator[str]:
    """Those of the files below a folder of a store that `folder_walk` does not leave out."""
    start = f"{folder}/"
    names = listed_files(
        [path.removeprefix(start) for path in paths],
        read=lambda name: read_whole(start + name),
        place=folder,
        output=endings.output,
        pattern=pattern,
        left_out=endings.left_out,
    )
    return (start + name for name in names)


def _folder(place: str, endings: EndingFilter) -> Iterator[list[Any]]:
    with refusing(f"{place} cannot be read"):
        if "://" not in place:
            for path in endings.files_below(place):
                yield from _local_file(path, endings)
            return
        files = {file.path: file for file in list_store(place)}
        for path in _looked_at(sorted(files), place, endings):
            if endings.takes(posixpath.basename(path)):
                yield _row(files[path])


def _zipped(file: FileMetadata, endings: EndingFilter) -> Iterator[list[Any]]:
    """The images of an archive, as archive/name, with the archive's size and version and path."""
    size_and_version = _row(file)[1:]
    try:
        archive = ImageZip(file.path)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{file.path}: not a zip archive that can be read ({error}); get it again"
        ) from None

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except zipfile.BadZipFile:
            return b""

    names = sorted(archive.all_paths())
    for name in listed_files(names, read=read, place=file.path, left_out=endings.left_out):
        if endings.takes(posixpath.basename(name)):
            yield [f"{file.path}/{name}", *size_and_version, file.path]


def _listed(place: str) -> Iterator[list[Any]]:
    """The paths in a text file; those that are not absolute start at the file's own folder."""
    root = posixpath.dirname(place if "://" in place else os.path.abspath(place))
    is_asked = False
    with open_unpacked(place) as file:
        for number, line in enumerate(file, start=1):
            try:
                path = line.decode().strip()
            except UnicodeDecodeError:
                raise DataError(
                    f"{place}, line {number}: not text; a list holds one path on each line"
                ) from None
            if path:
                if not is_asked and path.startswith("gs://"):
                    check_reachable(path)
                    is_asked = True
                is_whole = "://" in path or path.startswith("/")
                yield [path if is_whole else f"{root}/{path}", *_UNKNOWN]


def _row(file: FileMetadata) -> list[Any]:
    return [file.path, file.size_in_bytes, int((file.last_updated_in_seconds or 0) * 1000)]
