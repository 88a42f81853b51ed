"""Where the file of each image row is: looked for among all rows that may mean the same file.

A file serves one row. Whether it does can only be seen where all rows of a name meet, of all
splits: two rows that share a base name may come to one file, and then a third one's boxes would
stand on the wrong picture.
"""

import collections
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from operator import itemgetter
from typing import NamedTuple

import apache_beam as beam

from components.conversion.batches import BatchPacker, unpack
from components.conversion.list_images import FILE, is_listed
from components.conversion.options import ConversionOptions
from components.conversion.read_annotations import bucket_key
from components.storage.image_names import PARTIAL, same_name_key
from components.storage.image_store import (
    Found,
    ImageStore,
    ListedFolder,
    Location,
    open_store,
)

FOUND = "found"
_LOOKING_THREADS = 16
_ROWS_NAMED = 3


class _Row(NamedTuple):
    split: str
    image_id: str
    ordinal: int
    file_name: str


class _Files:
    """Which rows came to which file, of rows that share a name."""

    def __init__(self, rows: Sequence[tuple[_Row, Found]], options: ConversionOptions):
        self._options = options
        self._first: dict[tuple[str, str], str] = {}
        # File to the names by which rows came to it, each with its surest rank and first row.
        self._claims: dict[str, dict[str, tuple[int, _Row]]] = collections.defaultdict(dict)
        # Files of other sizes are other images: each video has a frame of this name.
        self._splits: dict[tuple[str, int], set[str]] = collections.defaultdict(set)
        for row, found in rows:
            self._first.setdefault((row.split, row.file_name), row.image_id)
            if found.location:
                claims = self._claims[self._address(row, found.location)]
                rank, first = claims.get(row.file_name, (found.rank, row))
                claims[row.file_name] = max(rank, found.rank), first
                self._splits[_base_name(row), found.location.size].add(row.split)
        self._served = {file: _served(claims) for file, claims in self._claims.items()}

    def _address(self, row: _Row, location: Location) -> str:
        """The same for one file, if it is reached from several splits' folders as well."""
        return os.path.normpath(f"{_root(self._options.splits[row.split].images)}/{location.path}")

    def refusal(self, row: _Row, found: Found) -> tuple[str, str] | None:
        """Rule and detail of why the row gets no file; None if it gets the one found."""
        kept = self._first[row.split, row.file_name]
        # The same id twice is found where the rows of an id meet.
        if kept != row.image_id:
            return "image_duplicate_file", f"{row.file_name} is image {kept} already"
        if not found.location:
            return found.rule, found.detail
        address = self._address(row, found.location)
        # One image may have rows in several splits.
        if row.file_name == self._served[address]:
            return None
        others = (
            f"{other.file_name} ({other.split} image {other.image_id})"
            for _, other in self._claims[address].values()
            if other.file_name != row.file_name
        )
        listed = ", ".join(itertools.islice(others, _ROWS_NAMED))
        return (
            "image_ambiguous",
            f"{row.file_name} would be {found.location.path}, to which {listed} comes too",
        )

    def changes(self, row: _Row, found: Found) -> list[tuple[str, str]]:
        """The rules that count the row though it gets its file, with their details."""
        changes = [(found.rule, found.detail)] if found.rule else []
        size = found.location.size if found.location else 0
        if splits := sorted(self._splits[_base_name(row), size] - {row.split}):
            detail = f"{row.file_name} is in {', '.join(splits)} too"
            changes.append(("image_in_several_splits", detail))
        return changes


def _served(claims: Mapping[str, tuple[int, _Row]]) -> str | None:
    """The name whose rows get the file; None if that is not certain."""
    best = max(rank for rank, _ in claims.values())
    names = [name for name, (rank, _) in claims.items() if rank == best]
    return names[0] if len(claims) == 1 or (len(names) == 1 and best > PARTIAL) else None


@functools.lru_cache
def _root(images: str) -> str:
    return images if "://" in images else os.path.realpath(images)


def _base_name(row: _Row) -> str:
    return row.file_name.rpartition("/")[2]


def _store(
    images: str, listed: Mapping[str, Mapping[str, Location]], tops: Mapping[str, str]
) -> ImageStore:
    if not is_listed(images):
        return open_store(images)
    place = images.rstrip("/")
    return ListedFolder(place, listed.get(place, {}), top=tops.get(place, ""))


def _locate(
    element: tuple[str, Iterable[bytes]], options: ConversionOptions, tops: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    """All names that share a hash, and the files of a bucket that they may mean, to batches of what
    was found, under the images' bucket keys.
    """
    rows: list[_Row] = []
    listed: dict[str, dict[str, Location]] = collections.defaultdict(dict)
    for batch in element[1]:
        kind, values = unpack(batch)
        if kind == FILE:
            listed_at = ((place, Location(*location)) for place, *location in values)
            for place, location in listed_at:
                listed[place][location.path] = location
        else:
            rows += [_Row(*row) for row in values]
    if not rows:  # Files that no row names.
        return
    rows.sort(key=itemgetter(0, 2))
    stores = {
        split: _store(options.splits[split].images, listed, tops)
        for split in {row.split for row in rows}
    }

    def locate(row: _Row) -> Found:
        store = stores[row.split]
        return store.locate(row.file_name, split=row.split, splits=[*options.splits])

    by_name: dict[str, list[tuple[_Row, Found]]] = collections.defaultdict(list)
    if all(isinstance(store, ListedFolder) for store in stores.values()):
        found_files = [*map(locate, rows)]
    else:
        with futures.ThreadPoolExecutor(_LOOKING_THREADS) as threads:
            found_files = [*threads.map(locate, rows)]
    for row, found in zip(rows, found_files, strict=True):
        by_name[same_name_key(row.file_name)].append((row, found))
    packer: BatchPacker[str] = BatchPacker(FOUND)
    for group in by_name.values():
        files = _Files(group, options)
        for row, found in group:
            refusal = files.refusal(row, found)
            place = [*found.location] if found.location and not refusal else None
            changes = [] if refusal else files.changes(row, found)
            key = bucket_key(row.image_id, split=row.split, seed=options.seed)
            yield from packer.add(key, (row.image_id, place, refusal, changes))
    yield from packer.flush()


@beam.ptransform_fn
def LocateImages(  # noqa: N802
    names: beam.PCollection, options: ConversionOptions, *, files: Mapping[str, beam.PCollection]
) -> beam.PCollection:
    """(name key, batch of names) to (bucket key, batch of found rows).

    A row of kind `found`: image id, location or None, (rule, detail) of why it gets no file or
    None, and the (rule, detail) of everything that is counted though it is kept.

    Args:
      names: `ReadAnnotations`'.
      options: of the conversion.
      files: what `ListImages` found.
    """
    return (
        (names, files["files"])
        | "Names and files" >> beam.Flatten()
        | "Same names" >> beam.GroupByKey()
        | "Locate" >> beam.FlatMap(_locate, options, tops=beam.pvalue.AsDict(files["tops"]))
    )
