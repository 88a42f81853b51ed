"""What lies in folders of images in a bucket: listed once, for all workers of a conversion.

A look-up for each image would be millions of requests, and a listing in each process a listing for
each worker. Here each part of a folder is listed by one worker, and each file travels to where the
rows are that may mean it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystem import FileMetadata

from components.conversion.batches import NUM_BUCKETS, BatchPacker, image_hash, part_of
from components.conversion.options import ConversionOptions
from components.storage.bucket import is_in_bucket
from components.storage.files import list_store
from components.storage.image_names import common_folder, lookup_key
from components.storage.image_store import location_of

FILE = "file"
# Folders are looked for until there are so many to list in parallel; of more than the most, each
# would be a request for few files.
_FEW_FOLDERS, _MOST_FOLDERS = 8, 1000


def name_key(file_name: str) -> str:
    """Returns the key under which rows and files meet that may belong together."""
    name_hash = image_hash(lookup_key(file_name), split="", seed=0)
    return f"names/{part_of(name_hash, NUM_BUCKETS):04d}"


def is_listed(images: str) -> bool:
    """Whether a place of images is a folder in a bucket, where a look-up is a request."""
    return is_in_bucket(images) and not images.lower().endswith(".zip")


class _Files:
    """Packs the files of a place for the shuffle."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._packer: BatchPacker[str] = BatchPacker(FILE)
        self._top: str | None = None

    def add(self, files: Iterable[FileMetadata], *, below: str = "") -> Iterator[Any]:
        """Yields batches; leaves out what is directly in the folder `below`."""
        for file in files:
            if not below or "/" in file.path[len(below) :]:
                location = location_of(file, place=self._place)
                self._top = common_folder(location.path, self._top)
                yield from self._packer.add(name_key(location.path), (self._place, *location))

    def flush(self) -> Iterator[Any]:
        """Yields the rest, and the folder that all files had in common."""
        yield from self._packer.flush()
        if self._top is not None:
            yield pvalue.TaggedOutput("tops", (self._place, self._top))


def _list_top(place: str) -> Iterator[Any]:
    """A place to the files in its upper folders, and to what is left to list."""
    files, level = _Files(place), [f"{place}/"]
    while level and len(level) < _FEW_FOLDERS:
        deeper: list[str] = []
        for folder in level:
            yield from files.add(list_store(folder, folders=deeper))
        if len(deeper) > _MOST_FOLDERS:
            break
        level, deeper = deeper, []
    yield from files.flush()
    for folder in level:
        # Of a folder that was looked into, what is directly in it is known.
        yield pvalue.TaggedOutput("folders", (place, folder, bool(deeper)))


def _list_below(folder: tuple[str, str, bool]) -> Iterator[Any]:
    place, root, is_known = folder
    files = _Files(place)
    yield from files.add(list_store(root), below=root if is_known else "")
    yield from files.flush()


def _shortest(folders: Iterable[str]) -> str:
    """The folder that all folders, each with its slash, are or are in."""
    found: str | None = None
    for folder in folders:
        found = common_folder(folder, found)
    return found or ""


@beam.ptransform_fn
def ListImages(  # noqa: N802
    pbegin: pvalue.PBegin, options: ConversionOptions
) -> dict[str, beam.PCollection]:
    """Lists the folders of images that are in a bucket; others are looked into where they are.

    Outputs, as of a dictionary:
      `files`: (name key, batch of (place, path, size, version)).
      `tops`: (place, the folder that all its files have in common), one for each place.
    """
    places = sorted({s.images.rstrip("/") for s in options.splits.values() if is_listed(s.images)})
    typed: dict[str, Any] = {"folders": tuple[str, str, bool], "tops": tuple[str, str]}
    top = (
        pbegin
        | "Places" >> beam.Create(places)
        | "Upper folders"
        >> beam.FlatMap(_list_top)
        .with_output_types(tuple[str, bytes], **typed)
        .with_outputs("folders", "tops", main="files")
    )
    below = (
        top.folders
        # Otherwise one worker would list them all.
        | "Spread folders" >> beam.Reshuffle()
        | "Lower folders"
        >> beam.FlatMap(_list_below)
        .with_output_types(tuple[str, bytes], tops=tuple[str, str])
        .with_outputs("tops", main="files")
    )
    tops = (top.tops, below.tops) | "All tops" >> beam.Flatten()
    return {
        "files": (top.files, below.files) | "All files" >> beam.Flatten(),
        "tops": tops | "Common" >> beam.CombinePerKey(_shortest),
    }
