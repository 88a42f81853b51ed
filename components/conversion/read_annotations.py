"""Annotation files to batches of rows: each array of each file is one element, and one stream."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import orjson
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems

from components.conversion.batches import NUM_BUCKETS, BatchPacker, image_hash, part_of
from components.conversion.collection import collect_only_new_objects
from components.conversion.options import ConversionOptions
from pix2seq_model.data.annotations import (
    AnnotationRow,
    ImageRow,
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


def _no_rows_problem(path: str, array: str) -> str:
    with FileSystems.open(path) as file:
        keys = top_level_keys(file)
    found = f"has the keys {keys[:20]}" if keys else "is not an object with named arrays"
    return (
        f"{path}: no rows under {array!r}; the file {found}, and COCO's format needs non-empty "
        "lists 'images' and 'categories'"
    )


class _ReadArray(beam.DoFn):
    """(split, path, array) to keyed batches, names' batches, and one report of the array.

    A file that cannot be read does not end the job here, as an exception in a worker would be
    tried again and then reach the user inside a traceback: the report says so, nothing is written,
    and `finish` raises it.
    """

    NAMES, REPORTS = "names", "reports"

    def __init__(self, seed: int):
        self._seed = seed

    def setup(self) -> None:
        collect_only_new_objects()

    def process(self, element: tuple[str, str, str]) -> Iterator[Any]:
        split, path, array = element
        report: dict[str, Any] = {
            "split": split,
            "path": path,
            "array": array,
            "rows": 0,
            "problem": "",
        }
        try:
            with FileSystems.open(path) as file:
                rows = read_array(file, array, path=path)
                if array == "categories":
                    report["categories"] = list(rows)
                    report["rows"] = len(report["categories"])
                else:
                    for ordinal, raw in enumerate(rows):
                        report["rows"] = ordinal + 1
                        yield from self._emit(split, array, raw, ordinal)
            if not report["rows"] and array != "annotations":
                report["problem"] = _no_rows_problem(path, array)
        except DataError as error:
            report["problem"] = str(error)
        yield from self._flush(array)
        yield pvalue.TaggedOutput(self.REPORTS, orjson.dumps(report))

    def start_bundle(self) -> None:
        self._packers = {array: BatchPacker(kind) for array, kind in _KINDS.items()}
        self._names = BatchPacker(FILE_NAME)

    def _emit(self, split: str, array: str, raw: Any, ordinal: int) -> Iterator[Any]:
        row: ImageRow | AnnotationRow
        if array == "annotations":
            row = parse_annotation_row(raw, ordinal)
            values = row.packed()
        else:
            row = parse_image_row(raw, ordinal)
            values = [*row]
        # Rows without an image id have no bucket of their own; any will do, if always the same.
        owner = row.image_id or f"row {ordinal}"
        key = bucket_key(owner, split=split, seed=self._seed)
        yield from self._packers[array].add(key, values)
        if isinstance(row, ImageRow) and not row.problem:
            name_key = part_of(image_hash(row.file_name.rpartition("/")[2], split="", seed=0), 64)
            for batch in self._names.add(
                f"names/{name_key:02d}", (split, row.image_id, ordinal, row.file_name)
            ):
                yield pvalue.TaggedOutput(self.NAMES, batch)

    def _flush(self, array: str) -> Iterator[Any]:
        if array in self._packers:
            yield from self._packers[array].flush()
        for batch in self._names.flush():
            yield pvalue.TaggedOutput(self.NAMES, batch)


class ReadAnnotations(beam.PTransform):
    """Reads the annotation files of a conversion as streams.

    Output, a dictionary of PCollections:
      `rows`: (bucket key, batch of `ImageRow` or `AnnotationRow`), both str and bytes.
      `names`: (key, batch of (split, image id, ordinal, file name)), for finding repeats.
      `reports`: bytes, JSON of one array of one file: its rows counted, or its problem.
    """

    def __init__(self, options: ConversionOptions):
        self._options = options

    def expand(self, pbegin: beam.pvalue.PBegin) -> dict[str, beam.PCollection]:
        files = [
            (split, source.annotations, array)
            for split, source in sorted(self._options.splits.items())
            for array in ARRAYS
        ]
        outputs = (
            pbegin
            | "Arrays" >> beam.Create(files)
            # Otherwise a runner may fuse this with the reading and give all files to one worker.
            | "Spread" >> beam.Reshuffle()
            | "Stream"
            >> beam.ParDo(_ReadArray(self._options.seed)).with_outputs(
                _ReadArray.NAMES, _ReadArray.REPORTS, main="rows"
            )
        )
        rows, names, reports = outputs.rows, outputs[_ReadArray.NAMES], outputs[_ReadArray.REPORTS]
        for keyed in (rows, names):
            keyed.element_type = beam.typehints.KV[str, bytes]
        reports.element_type = bytes
        return {"rows": rows, "names": names, "reports": reports}
