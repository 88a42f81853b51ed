"""Annotation files to batches of rows: each array of each file is one element, and one stream."""

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystem import BeamIOError

from components.conversion.batches import NUM_BUCKETS, BatchPacker, image_hash, owner, pack, part_of
from components.conversion.collection import collect_only_new_objects
from components.conversion.list_images import name_key
from components.conversion.options import ConversionOptions
from components.storage.files import open_unpacked
from pix2seq_model.data.annotations import (
    no_rows_problem,
    parse_image_row,
)
from pix2seq_model.data.json_arrays import read_array, top_level_keys
from pix2seq_model.errors import DataError

# The annotations are read later, when it is known how many shards there are.
ARRAYS = ("images", "categories")
IMAGE, ANNOTATION, FILE_NAME = "image", "annotation", "file name"
FILE = "annotation file"


def bucket_key(image_id: str, *, split: str, seed: int) -> str:
    """Returns the key under which everything about an image meets."""
    bucket = part_of(image_hash(image_id, split=split, seed=seed), NUM_BUCKETS)
    return f"{split}/{bucket:04d}"


def read_reported(
    split: str,
    path: str,
    array: str,
    take: Callable[[Iterator[tuple[int, Any]]], Iterator[Any]],
) -> Iterator[Any]:
    """Yields what `take` makes of the numbered rows of an array, and at the end its report.

    A file that cannot be read does not end the job here, as an exception in a worker would be
    tried again and then reach the user inside a traceback: the report says so, nothing is written,
    and `finish` raises it.
    """
    report: dict[str, Any] = {"split": split, "path": path, "array": array}
    report |= {"rows": 0, "problem": ""}

    def numbered(rows: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        for ordinal, raw in enumerate(rows):
            yield ordinal, raw
            report["rows"] = ordinal + 1

    try:
        with open_unpacked(path) as file:
            yield from take(numbered(read_array(file, array, path=path)))
        if not report["rows"]:
            with open_unpacked(path) as file:
                why = no_rows_problem(top_level_keys(file, path=path), array, path=path)
            # Images without any object can be converted; a person is told.
            report["problem" if array != "annotations" else "warning"] = why
    except DataError as error:
        report["problem"] = str(error)
    except (zlib.error, OSError) as error:
        # Those of unpacking have no number; others are of the disk, and pass.
        if getattr(error, "errno", None) is not None or isinstance(error, BeamIOError):
            raise
        report["problem"] = f"{path} is damaged ({error}): download or export it again"
    yield pvalue.TaggedOutput("reports", report)


class _ReadArray(beam.DoFn):
    """(split, path, array) to keyed batches, names' batches, and one report of the array."""

    def __init__(self, seed: int):
        self._seed = seed

    def setup(self) -> None:
        collect_only_new_objects()

    def process(self, element: tuple[str, str, str]) -> Iterator[Any]:
        split, path, array = element
        if array == "images":
            yield from read_reported(split, path, array, functools.partial(self._images, split))
        else:
            categories: list[Any] = []
            for report in read_reported(split, path, array, functools.partial(_take, categories)):
                report.value["categories"] = categories
                yield report
            yield pvalue.TaggedOutput("files", (split, pack(FILE, [[path]])))

    def _images(self, split: str, rows: Iterator[tuple[int, Any]]) -> Iterator[Any]:
        packer: BatchPacker[str] = BatchPacker(IMAGE)
        names: BatchPacker[str] = BatchPacker(FILE_NAME)
        for ordinal, raw in rows:
            row = parse_image_row(raw, ordinal)
            # Rows without an image id have no bucket of their own; any will do, if always the same.
            key = bucket_key(owner(row), split=split, seed=self._seed)
            yield from packer.add(key, [*row])
            if not row.problem:
                key = name_key(row.file_name)
                yield from _names(names.add(key, (split, row.image_id, ordinal, row.file_name)))
        yield from packer.flush()
        yield from _names(names.flush())


def _take(taken: list[Any], rows: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """Puts the rows into the list; yields nothing."""
    taken.extend(raw for _, raw in rows)
    return iter(())


def _names(batches: Iterable[tuple[str, bytes]]) -> Iterator[Any]:
    for batch in batches:
        yield pvalue.TaggedOutput("names", batch)


@beam.ptransform_fn
def ReadAnnotations(pbegin: pvalue.PBegin, options: ConversionOptions) -> pvalue.DoOutputsTuple:  # noqa: N802
    """Reads images and categories from the annotation files of a conversion, as streams.

    Outputs:
      `rows`: (bucket key, batch of `ImageRow`), both str and bytes.
      `names`: (key, batch of (split, image id, ordinal, file name)), for finding their files.
      `reports`: of one array of one file: its rows counted, or its problem.
      `files`: (split, batch of the annotation file's path), for reading the annotations.
    """
    files = [
        (split, source.annotations, array)
        for split, source in sorted(options.splits.items())
        for array in ARRAYS
    ]
    return (
        pbegin
        | "Arrays" >> beam.Create(files)
        # Otherwise a runner may fuse this with the reading and give all files to one worker.
        | "Spread" >> beam.Reshuffle()
        | "Stream"
        >> beam.ParDo(_ReadArray(options.seed))
        .with_output_types(
            tuple[str, bytes],
            names=tuple[str, bytes],
            reports=dict[str, Any],
            files=tuple[str, bytes],
        )
        .with_outputs("names", "reports", "files", main="rows")
    )
