"""Annotation files to batches of rows: each array of each file is one element, and one stream."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems

from components.conversion.batches import NUM_BUCKETS, BatchPacker, image_hash, owner, part_of
from components.conversion.collection import collect_only_new_objects
from components.conversion.list_images import name_key
from components.conversion.options import ConversionOptions
from pix2seq_model.data.annotations import (
    AnnotationRow,
    ImageRow,
    no_rows_problem,
    parse_annotation_row,
    parse_image_row,
    read_array,
    top_level_keys,
)
from pix2seq_model.errors import DataError

ARRAYS = ("images", "annotations", "categories")
IMAGE, ANNOTATION, FILE_NAME = "image", "annotation", "file name"
_KINDS = {"images": IMAGE, "annotations": ANNOTATION}


def bucket_key(image_id: str, *, split: str, seed: int) -> str:
    """Returns the key under which everything about an image meets."""
    bucket = part_of(image_hash(image_id, split=split, seed=seed), NUM_BUCKETS)
    return f"{split}/{bucket:04d}"


class _ReadArray(beam.DoFn):
    """(split, path, array) to keyed batches, names' batches, and one report of the array.

    A file that cannot be read does not end the job here, as an exception in a worker would be
    tried again and then reach the user inside a traceback: the report says so, nothing is written,
    and `finish` raises it.
    """

    def __init__(self, seed: int):
        self._seed = seed

    def setup(self) -> None:
        collect_only_new_objects()

    def process(self, element: tuple[str, str, str]) -> Iterator[Any]:
        split, path, array = element
        report: dict[str, Any] = {"split": split, "path": path, "array": array}
        report |= {"rows": 0, "problem": ""}
        try:
            with FileSystems.open(path) as file:
                rows = read_array(file, array, path=path)
                if array == "categories":
                    report["categories"] = list(rows)
                    report["rows"] = len(report["categories"])
                else:
                    yield from self._batches(rows, report)
            if not report["rows"]:
                with FileSystems.open(path) as file:
                    why = no_rows_problem(top_level_keys(file), array, path=path)
                # Images without any object can be converted; a person is told.
                report["problem" if array != "annotations" else "warning"] = why
        except DataError as error:
            report["problem"] = str(error)
        yield pvalue.TaggedOutput("reports", report)

    def _batches(self, rows: Iterable[Any], report: dict[str, Any]) -> Iterator[Any]:
        packer, names = BatchPacker(_KINDS[report["array"]]), BatchPacker(FILE_NAME)
        split = report["split"]
        for ordinal, raw in enumerate(rows):
            report["rows"] = ordinal + 1
            row: ImageRow | AnnotationRow
            if report["array"] == "annotations":
                row = parse_annotation_row(raw, ordinal)
                values = row.packed()
            else:
                row = parse_image_row(raw, ordinal)
                values = [*row]
            # Rows without an image id have no bucket of their own; any will do, if always the same.
            key = bucket_key(owner(row), split=split, seed=self._seed)
            yield from packer.add(key, values)
            if isinstance(row, ImageRow) and not row.problem:
                key = name_key(row.file_name)
                yield from _names(names.add(key, (split, row.image_id, ordinal, row.file_name)))
        yield from packer.flush()
        yield from _names(names.flush())


def _names(batches: Iterable[tuple[str, bytes]]) -> Iterator[Any]:
    for batch in batches:
        yield pvalue.TaggedOutput("names", batch)


@beam.ptransform_fn
def ReadAnnotations(pbegin: pvalue.PBegin, options: ConversionOptions) -> pvalue.DoOutputsTuple:  # noqa: N802
    """Reads the annotation files of a conversion as streams.

    Outputs:
      `rows`: (bucket key, batch of `ImageRow` or `AnnotationRow`), both str and bytes.
      `names`: (key, batch of (split, image id, ordinal, file name)), for finding their files.
      `reports`: of one array of one file: its rows counted, or its problem.
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
        .with_output_types(tuple[str, bytes], names=tuple[str, bytes], reports=dict[str, Any])
        .with_outputs("names", "reports", main="rows")
    )
