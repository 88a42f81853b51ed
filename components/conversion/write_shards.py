"""A shard's metadata to its file of records, by the worker that owns the shard."""

import collections
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from typing import Any

import apache_beam as beam
import orjson

from components.conversion.collection import collect_only_new_objects
from components.conversion.examine import ExaminedImage, Tally, examine_image
from components.conversion.join_images import JoinedImage
from components.conversion.options import ConversionOptions
from components.conversion.plan_shards import find_categories, unpack_runs
from components.storage.files import (
    NewFile,
    file_size,
    progress_file,
    read_file,
    write_file,
)
from components.storage.image_store import open_store
from pix2seq_model.data.manifest import dead_letter_file, shard_file
from pix2seq_model.data.records import SCHEMA_VERSION
from pix2seq_model.data.tfrecord import frame_record

# Raised whenever the same metadata and options would give other bytes.
_WRITER_VERSION = 1
_READING_THREADS = 8
# Images in memory at a time, read or being read.
_READ_AHEAD = 24

# Category key to (stored id, name), of a split.
_Categories = Mapping[str, tuple[int, str]]


class _WriteShard(beam.DoFn):
    """(`split/shard/shards`, batches of joined images) to the shard's report."""

    def __init__(self, options: ConversionOptions, *, output: str, write_records: bool):
        self._options = options
        self._output = output
        self._write_records = write_records

    def setup(self) -> None:
        collect_only_new_objects()
        self._threads = futures.ThreadPoolExecutor(_READING_THREADS)

    def teardown(self) -> None:
        self._threads.shutdown()

    def process(
        self, element: tuple[str, Iterable[bytes]], reports: list[bytes]
    ) -> Iterator[bytes]:
        key, batches = element
        split, shard, num_shards = key.split("/")
        place = (split, int(shard), int(num_shards))
        categories = find_categories([orjson.loads(report) for report in reports])
        # Still packed: a shard of small images has more rows than a worker should hold unpacked.
        runs = sorted(batches)
        content_key = self._content_key(runs, categories.by_source[split])
        finished = self._finished_report(place, content_key)
        if finished is None:
            images = map(JoinedImage.from_row, unpack_runs(runs))
            report = self._write(place, images, categories.by_source[split])
            finished = orjson.dumps({**report, "content_key": content_key})
            write_file(self._output, progress_file(*place), finished)
        yield finished

    def _content_key(self, runs: list[bytes], categories: _Categories) -> str:
        """The digest of all that decides what is in a shard."""
        settings = [
            _WRITER_VERSION,
            SCHEMA_VERSION,
            self._options.content(),
            sorted(categories.items()),
        ]
        digest = hashlib.sha256(orjson.dumps(settings))
        for row in unpack_runs(runs):
            digest.update(orjson.dumps(row))
        return digest.hexdigest()

    def _finished_report(self, place: tuple[str, int, int], content_key: str) -> bytes | None:
        """The report of a run before this, if it wrote this very shard and its files are there."""
        stored = read_file(self._output, progress_file(*place))
        if stored is None:
            return None
        report = orjson.loads(stored)
        is_same = report["content_key"] == content_key
        if not is_same or report["has_records"] != self._write_records:
            return None
        if (
            self._write_records
            and file_size(self._output, shard_file(*place)) != report["num_bytes"]
        ):
            return None
        if report["num_dead_letters"] and file_size(self._output, dead_letter_file(*place)) is None:
            return None
        return stored

    def _examined(
        self, split: str, images: Iterable[JoinedImage], categories: _Categories
    ) -> Iterator[ExaminedImage]:
        """Examines in threads, a bounded number ahead, and yields in order."""
        store = open_store(self._options.splits[split].images)
        waiting: collections.deque[futures.Future[ExaminedImage]] = collections.deque()
        for image in images:
            waiting.append(
                self._threads.submit(
                    examine_image,
                    image,
                    store=store,
                    categories=categories,
                    options=self._options,
                )
            )
            if len(waiting) >= _READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _write(
        self, place: tuple[str, int, int], images: Iterable[JoinedImage], categories: _Categories
    ) -> dict[str, Any]:
        tally, digest, num_bytes = Tally(), hashlib.sha256(), 0
        examined = self._examined(place[0], images, categories)
        if self._write_records:
            with NewFile(self._output, shard_file(*place)) as file:
                for image in examined:
                    tally.add(image)
                    if image.record is not None:
                        framed = frame_record(image.record)
                        file.write(framed)
                        digest.update(framed)
                        num_bytes += len(framed)
        else:
            for image in examined:
                tally.add(image)
        if tally.dead_letters:
            lines = b"".join(orjson.dumps(line) + b"\n" for line in tally.dead_letters)
            write_file(self._output, dead_letter_file(*place), lines)
        return {
            "split": place[0],
            "shard": place[1],
            "num_shards": place[2],
            "has_records": self._write_records,
            "num_bytes": num_bytes,
            "sha256": digest.hexdigest(),
            "num_dead_letters": len(tally.dead_letters),
            **tally.to_json(),
        }


class WriteShards(beam.PTransform):
    """(shard key, batches) to one report for each shard, bytes of JSON.

    A shard is written to a temporary name and renamed; the note that it is complete comes after
    it. A shard with such a note for the same content is kept as it is: that is how a run after a
    kill goes on.
    """

    def __init__(
        self,
        options: ConversionOptions,
        *,
        output: str,
        reports: beam.PCollection,
        write_records: bool = True,
    ):
        """`reports` are ReadAnnotations'; they hold the categories.

        With `write_records=False` everything is examined and counted, and no record written.
        """
        self._dofn = _WriteShard(options, output=output, write_records=write_records)
        self._reports = reports

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | "Write" >> beam.ParDo(
            self._dofn, reports=beam.pvalue.AsList(self._reports)
        ).with_output_types(bytes)
