"""A shard's metadata to its file of records, by the worker that owns the shard."""

import contextlib
import functools
import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.metrics import Metrics

from components.conversion.assign_shards import sections
from components.conversion.batches import content
from components.conversion.collection import collect_only_new_objects
from components.conversion.examine import Tally, examine_image
from components.conversion.join_images import JoinedImage, join_annotations
from components.conversion.options import ConversionOptions
from components.conversion.plan_shards import find_categories, place_of
from components.storage import bucket
from components.storage.files import CountedFile, file_size, has_content, new_file, write_file
from components.storage.image_store import open_store
from components.storage.shards import ShardOwner
from pix2seq_model.data.manifest import dead_letter_file, shard_file
from pix2seq_model.data.records import SCHEMA_VERSION
from pix2seq_model.data.tfrecord import frame_record

# Raised whenever the same metadata and options would give other bytes.
_WRITER_VERSION = 1
# Images in memory at a time, read or being read, on this machine and out of a bucket.
_READ_AHEAD, _READ_AHEAD_IN_BUCKET = 24, 48

# Category key to (stored id, name), of a split.
_Categories = Mapping[str, tuple[int, str]]


class _WriteShard(ShardOwner):
    """((split, shard, shards), batches of joined images) to the shard's report."""

    def __init__(self, options: ConversionOptions, *, output: str, write_records: bool):
        in_bucket = any(bucket.is_in_bucket(source.images) for source in options.splits.values())
        super().__init__(output, in_bucket=in_bucket)
        self._read_ahead = _READ_AHEAD_IN_BUCKET if in_bucket else _READ_AHEAD
        self._options = options
        self._write_records = write_records

    def setup(self) -> None:
        collect_only_new_objects()
        super().setup()

    def process(
        self, element: tuple[tuple[str, int, int], Iterable[bytes]], reports: Sequence[Any]
    ) -> Iterator[dict[str, Any]]:
        # Of annotations that cannot be read; `finish` raises it.
        if not any(report["problem"] for report in reports):
            yield self._shard(element, reports)

    def _shard(
        self, element: tuple[tuple[str, int, int], Iterable[bytes]], reports: Sequence[Any]
    ) -> dict[str, Any]:
        place, batches = element
        categories = find_categories(reports, self._options).by_source[place[0]]
        # Still packed: a shard of small images has more rows than a worker should hold unpacked.
        packed = [*sections([*batches])]
        content_key = self._content_key(packed, categories)
        report = self.report(place, content_key, lambda: self._write(place, packed, categories))
        for name, number in _counters(report).items():
            Metrics.counter("conversion", name).inc(number)
        return report

    def _content_key(self, packed: list[list[bytes]], categories: _Categories) -> str:
        """The digest of all that decides what is in a shard."""
        of_options = self._options.content()
        settings = [_WRITER_VERSION, SCHEMA_VERSION, of_options, sorted(categories.items())]
        digest = hashlib.sha256(orjson.dumps(settings))
        for section in packed:
            for rows in sorted(map(content, section)):
                digest.update(rows)
        return digest.hexdigest()

    def is_kept(self, report: dict[str, Any]) -> bool:
        place = place_of(report)
        if report["has_records"] != self._write_records:
            return False
        letters = report["num_dead_letters"] and file_size(self._output, dead_letter_file(*place))
        is_there = not self._write_records or has_content(self._output, shard_file(*place), report)
        return is_there and letters is not None

    def _write(
        self, place: tuple[str, int, int], packed: list[list[bytes]], categories: _Categories
    ) -> dict[str, Any]:
        store = open_store(self._options.splits[place[0]].images)
        examine = functools.partial(
            examine_image, store=store, categories=categories, options=self._options
        )
        join = functools.partial(join_annotations, split=place[0], seed=self._options.seed)
        images = itertools.chain.from_iterable(map(join, packed))
        tally = Tally()
        with (
            new_file(self._output, shard_file(*place))
            if self._write_records
            else contextlib.nullcontext(io.BytesIO())
        ) as file:
            records = CountedFile(file)
            for _, examined in self.read_ahead(examine, images, most=self._read_ahead, size=_size):
                image = examined.result()
                tally.add(image)
                if image.record is not None and self._write_records:
                    records.write(frame_record(image.record))
        if tally.dead_letters:
            lines = b"".join(orjson.dumps(line) + b"\n" for line in tally.dead_letters)
            write_file(self._output, dead_letter_file(*place), lines)
        return {
            "split": place[0],
            "shard": place[1],
            "num_shards": place[2],
            "has_records": self._write_records,
            **records.described(),
            "num_dead_letters": len(tally.dead_letters),
            **tally.to_json(),
        }


def _size(image: JoinedImage) -> int:
    return image.location.size if image.location else 0


def _counters(report: Mapping[str, Any]) -> dict[str, int]:
    """What a runner shows of the job while it runs: images, objects, bytes, defects by rule."""
    kinds = {"images": report["images"], "objects": report["annotations"]}
    return {
        "bytes": report["num_bytes"],
        **{kind: counts["written"] for kind, counts in kinds.items()},
        **{
            f"{kind}_{action}_{rule}": number
            for kind, counts in kinds.items()
            for action in ("dropped", "changed")
            for rule, number in counts[action].items()
        },
    }


@beam.ptransform_fn
def WriteShards(  # noqa: N802
    shards: beam.PCollection,
    options: ConversionOptions,
    *,
    output: str,
    reports: beam.PCollection,
    write_records: bool = True,
) -> beam.PCollection:
    """(shard's place, batches) to one report for each shard.

    Args:
      shards: see `AssignShards`.
      options: of the conversion.
      output: examples folder.
      reports: ReadAnnotations'; they hold the categories.
      write_records: False examines and counts everything, and writes no record.
    """
    dofn = _WriteShard(options, output=output, write_records=write_records)
    return shards | "Write" >> beam.ParDo(dofn, reports=beam.pvalue.AsList(reports))
