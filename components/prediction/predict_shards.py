"""A shard of images to its files of detections, by the worker that owns the shard.

Beam's RunInference is not used, for its batches are made of whatever comes together, and their
results reach a writer behind a barrier: of a job that is killed on the way nothing would be kept,
and no two runs would have to write the same order. A worker that owns a shard decodes it in batches
of one size and one order, and what is finished stays. What RunInference's model handlers are for,
one model for all threads of a process, `Shared` does here as it does there.
"""

import collections
import functools
import hashlib
import posixpath
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
import orjson
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from components.prediction.folder import (
    KIND,
    WORK,
    lines_file,
    records_file,
    unreadable_file,
)
from components.prediction.options import PredictionOptions
from components.storage.files import NewFile, file_size, progress_file, read_file, write_file
from components.storage.image_store import READING_ERRORS, ImageFolder, read_with_retries
from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.data.records import decode_example
from pix2seq_model.data.tfrecord import frame_record, read_records
from pix2seq_model.errors import DataError, ModelError
from pix2seq_model.prediction.detection_records import ImageDetections, encode_detections, json_line

if TYPE_CHECKING:
    from pix2seq_model.input_pipeline.image_file import PreparedImage
    from pix2seq_model.prediction.image_detector import ImageDetector

# Raised whenever the same images, model and options would give other bytes.
_WRITER_VERSION = 1
_READING_THREADS = 8
# Whatever has these may be there, or be readable, the next time.
_PASSING_RULES = ("image_missing", "image_unreadable")


class _Image(NamedTuple):
    image: str
    image_id: str
    read: Callable[[], bytes]


class PredictShard(beam.DoFn):
    """(shard, shards, offset, length) of the list of work to the shard's report, bytes of JSON."""

    def __init__(self, options: PredictionOptions, *, output: str, model_identity: str):
        self._options = options
        self._output = output
        self._model_identity = model_identity
        self._shared = Shared()

    def setup(self) -> None:
        self._threads = futures.ThreadPoolExecutor(_READING_THREADS)

    def teardown(self) -> None:
        self._threads.shutdown()

    def process(self, element: tuple[int, int, int, int]) -> Iterator[bytes]:
        shard, num_shards, offset, length = element
        place = (shard, num_shards)
        with FileSystems.open(
            f"{self._output}/{WORK}", compression_type=CompressionTypes.UNCOMPRESSED
        ) as file:
            file.seek(offset)
            work = file.read(length)
        settings = [_WRITER_VERSION, self._model_identity, self._options.content()]
        content_key = hashlib.sha256(orjson.dumps(settings) + work).hexdigest()
        report = self._finished_report(place, content_key)
        if report is None:
            report = {
                "shard": shard,
                "content_key": content_key,
                **self._predict(place, orjson.loads(work)),
            }
            if not report["problem"]:
                write_file(self._output, progress_file(KIND, *place), orjson.dumps(report))
        yield orjson.dumps(report)

    def _finished_report(self, place: tuple[int, int], content_key: str) -> dict[str, Any] | None:
        """The report of a run before this, if it wrote this very shard and its files are there."""
        stored = read_file(self._output, progress_file(KIND, *place))
        if stored is None:
            return None
        report = orjson.loads(stored)
        if report["content_key"] != content_key:
            return None
        if any(rule in report["unreadable"] for rule in _PASSING_RULES):
            return None
        sizes = {name: described["num_bytes"] for name, described in report["files"].items()}
        if any(file_size(self._output, name) != size for name, size in sizes.items()):
            return None
        return report

    def _predict(self, place: tuple[int, int], work: dict[str, Any]) -> dict[str, Any]:
        dead_letters: list[dict[str, str]] = []
        num_written = num_detections = 0
        lines = _CountedFile(self._output, lines_file(*place))
        records = _CountedFile(self._output, records_file(*place))
        detector = self._shared.acquire(self._load_detector)
        names = detector.category_names
        try:
            with lines, records:
                for found in self._found(work, detector, dead_letters):
                    lines.write(json_line(found, names))
                    records.write(frame_record(encode_detections(found, names)))
                    num_written += 1
                    num_detections += len(found.rows)
        except DataError as error:
            return {"problem": str(error)}  # Raised again by the launching process.
        files = {file.name: file.described() for file in (lines, records)}
        if dead_letters:
            with _CountedFile(self._output, unreadable_file(*place)) as file:
                for letter in dead_letters:
                    file.write(orjson.dumps(letter, option=orjson.OPT_APPEND_NEWLINE))
            files[file.name] = file.described()
        return {
            "problem": "",
            "images": len(work["files"]) if "files" in work else work["num_images"],
            "written": num_written,
            "detections": num_detections,
            "unreadable": collections.Counter(letter["rule"] for letter in dead_letters),
            "files": files,
        }

    def _load_detector(self):
        # TensorFlow takes seconds to import; the launching process has no need of it.
        from pix2seq_model.prediction.image_detector import ImageDetector

        options = self._options
        detector = ImageDetector(
            options.model_dir,
            batch_size=options.batch_size,
            precision=options.precision,
            **options.decoding,
        )
        if detector.info.weights_sha256 != self._model_identity:
            raise ModelError(
                f"{options.model_dir} is not the model any more that it was when this job started: "
                "run the same command again"
            )
        return detector

    def _found(
        self, work: dict[str, Any], detector: "ImageDetector", dead_letters: list[dict[str, str]]
    ) -> Iterator[ImageDetections]:
        """Yields the readable images' detections, in the order of the work."""
        batch: list[tuple[_Image, Any]] = []
        for image, future in self._read_ahead(work, detector.image_size):
            try:
                batch.append((image, future.result()))
            except ImageDefect as defect:
                letter = {"image": image.image, "rule": defect.rule, "detail": defect.detail}
                dead_letters.append(
                    letter | ({"image_id": image.image_id} if image.image_id else {})
                )
            if len(batch) == detector.batch_size:
                yield from self._decoded(batch, detector)
                batch = []
        if batch:
            yield from self._decoded(batch, detector)

    def _decoded(
        self, batch: list[tuple[_Image, Any]], detector: "ImageDetector"
    ) -> Iterator[ImageDetections]:
        found = detector.detect([prepared for _, prepared in batch])
        for (image, prepared), rows in zip(batch, found, strict=True):
            yield ImageDetections(
                image=image.image,
                image_id=image.image_id,
                width=prepared.width,
                height=prepared.height,
                rows=[row for row in rows if row["score"] >= self._options.score_threshold],
            )

    def _read_ahead(
        self, work: dict[str, Any], image_size: tuple[int, int]
    ) -> Iterator[tuple[_Image, futures.Future]]:
        """Reads and prepares in threads, two batches ahead at most, and yields in order."""
        waiting: collections.deque[tuple[_Image, futures.Future]] = collections.deque()
        for image in _images(work):
            future = self._threads.submit(
                _prepare, image, image_size=image_size, max_pixels=self._options.max_pixels
            )
            waiting.append((image, future))
            if len(waiting) > 2 * self._options.batch_size:
                yield waiting.popleft()
        yield from waiting


def _images(work: dict[str, Any]) -> Iterator[_Image]:
    if "files" in work:
        for path, _, _ in work["files"]:
            folder, name = posixpath.split(path)
            store = ImageFolder(folder or ".")
            yield _Image(path, "", functools.partial(read_with_retries, store, name))
        return
    path, number = work["records"], 0
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for number, record in enumerate(read_records(file, name=path), start=1):  # noqa: B007
            example = decode_example(record)
            read = functools.partial(bytes, example["image_encoded"])
            yield _Image(example["filename"], example["image_id"], read)
    if number != work["num_images"]:
        raise DataError(
            f"{path} has {number} records, the manifest says {work['num_images']}: convert the "
            "data set again"
        )


def _prepare(image: _Image, *, image_size: tuple[int, int], max_pixels: int) -> "PreparedImage":
    # TensorFlow, see _load_detector.
    from pix2seq_model.input_pipeline.image_file import prepare_image

    try:
        encoded = image.read()
    except FileNotFoundError:
        raise ImageDefect("image_missing", "no such file") from None
    except READING_ERRORS as error:
        raise ImageDefect("image_unreadable", str(error)[:300]) from None
    return prepare_image(encoded, image_size=image_size, max_pixels=max_pixels, keep_pixels=False)


class _CountedFile:
    """A `NewFile` that knows how much was written and its digest."""

    def __init__(self, output: str, name: str):
        self.name = name
        self._new = NewFile(output, name)
        self._digest = hashlib.sha256()
        self._num_bytes = 0

    def __enter__(self) -> "_CountedFile":
        self._file = self._new.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._new.__exit__(*error)

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self._num_bytes += len(content)

    def described(self) -> dict[str, Any]:
        return {"num_bytes": self._num_bytes, "sha256": self._digest.hexdigest()}
