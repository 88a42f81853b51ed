"""A shard of images to its files of detections, by the worker that owns the shard.

Beam's RunInference is not used: its batches are made of whatever arrives together, and their
results reach a writer behind a barrier. A killed job would keep nothing, and two runs could write
different orders. Here a worker that owns a shard decodes it in batches of one size and one order,
and what is finished stays. `Shared` keeps one model for all threads of a process, as RunInference's
model handlers do.
"""

import collections
import functools
import hashlib
import itertools
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from apache_beam.utils.shared import Shared

from components.prediction.folder import KIND, WORK, shard_file
from components.prediction.options import PredictionOptions
from components.storage.files import CountedFile, has_content, new_file, open_file
from components.storage.image_store import (
    ImageFolder,
    ImageStore,
    open_store,
    read_with_retries,
)
from components.storage.shards import ShardOwner
from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.data.manifest import ShardInfo
from pix2seq_model.data.records import decode_example
from pix2seq_model.data.shard_check import check_labels, checked_records
from pix2seq_model.data.tfrecord import frame_record
from pix2seq_model.errors import DataError, ModelError
from pix2seq_model.prediction.detection_records import ImageDetections, encode_detections, json_line

if TYPE_CHECKING:
    from pix2seq_model.input_pipeline.image_file import PreparedImage
    from pix2seq_model.prediction.image_detector import ImageDetector

# Raised whenever the same images, model and options would give other bytes.
_WRITER_VERSION = 2
# Such an image may be there the next time.
_PASSING_RULE = "image_missing"


class _Image(NamedTuple):
    image: str
    image_id: str
    read: Callable[[], bytes]


class PredictShard(ShardOwner):
    """(shard, shards, offset, length) of the list of work to the shard's report."""

    def __init__(self, options: PredictionOptions, *, output: str, model_identity: str):
        super().__init__(output)
        self._options = options
        self._model_identity = model_identity
        self._shared = Shared()

    def process(self, element: tuple[int, int, int, int]) -> Iterator[dict[str, Any]]:
        shard, num_shards, offset, length = element
        with open_file(f"{self._output}/{WORK}") as file:
            file.seek(offset)
            work = file.read(length)
        settings = [_WRITER_VERSION, self._model_identity, self._options.content()]
        content_key = hashlib.sha256(orjson.dumps(settings) + work).hexdigest()
        yield self.report(
            (KIND, shard, num_shards),
            content_key,
            lambda: self._predict(shard, num_shards, orjson.loads(work)),
        )

    def is_kept(self, report: dict[str, Any]) -> bool:
        return _PASSING_RULE not in report["unreadable"] and all(
            has_content(self._output, name, file) for name, file in report["files"].items()
        )

    def _predict(self, shard: int, num_shards: int, work: dict[str, Any]) -> dict[str, Any]:
        dead_letters: list[dict[str, str]] = []
        num_written = num_detections = 0
        lines_file = shard_file(KIND, shard, num_shards)
        records_file = shard_file(KIND, shard, num_shards, suffix=".tfrecord")
        unreadable_file = shard_file("unreadable", shard, num_shards)
        detector = self._shared.acquire(self._load_detector)
        names = detector.category_names
        try:
            with (
                new_file(self._output, lines_file) as first,
                new_file(self._output, records_file) as second,
            ):
                lines, records = CountedFile(first), CountedFile(second)
                for found in self._found(work, detector, dead_letters):
                    lines.write(json_line(found, names))
                    records.write(frame_record(encode_detections(found, names)))
                    num_written += 1
                    num_detections += len(found.rows)
        except DataError as error:
            # Raised again by the launching process.
            return {"shard": shard, "problem": str(error)}
        files = {lines_file: lines.described(), records_file: records.described()}
        if dead_letters:
            with new_file(self._output, unreadable_file) as file:
                letters = CountedFile(file)
                for letter in dead_letters:
                    letters.write(orjson.dumps(letter, option=orjson.OPT_APPEND_NEWLINE))
            files[unreadable_file] = letters.described()
        return {
            "shard": shard,
            "problem": "",
            "images": len(work["files"]) if "files" in work else work["shard"]["num_examples"],
            "written": num_written,
            "detections": num_detections,
            "unreadable": collections.Counter(letter["rule"] for letter in dead_letters),
            "files": files,
        }

    def _load_detector(self):
        # TensorFlow takes seconds to import; the launching process does not need it.
        from pix2seq_model.prediction.image_detector import ImageDetector

        options = self._options
        detector = ImageDetector(
            options.model_dir,
            batch_size=options.batch_size,
            precision=options.precision,
            resize=options.resize,
            clip_boxes=options.clip_boxes,
            **options.decoding,
        )
        if detector.info.weights_sha256 != self._model_identity:
            raise ModelError(
                f"{options.model_dir} has changed since this job started: "
                "run the same command again"
            )
        return detector

    def _found(
        self, work: dict[str, Any], detector: "ImageDetector", dead_letters: list[dict[str, str]]
    ) -> Iterator[ImageDetections]:
        """Yields the readable images' detections, in the order of the work."""
        readable = self._readable(work, detector, dead_letters)
        while batch := list(itertools.islice(readable, detector.batch_size)):
            found = detector.detect([prepared for _, prepared in batch])
            for (image, prepared), rows in zip(batch, found, strict=True):
                yield ImageDetections(
                    image=image.image,
                    image_id=image.image_id,
                    width=prepared.width,
                    height=prepared.height,
                    rows=[row for row in rows if row["score"] >= self._options.score_threshold],
                )

    def _readable(
        self, work: dict[str, Any], detector: "ImageDetector", dead_letters: list[dict[str, str]]
    ) -> Iterator[tuple[_Image, "PreparedImage"]]:
        """Reads two batches ahead; what cannot be read goes to `dead_letters`."""
        options = self._options
        limits: dict[str, Any] = {"max_pixels": options.max_pixels, "apply_exif": "files" in work}
        prepare = functools.partial(_prepare, detector=detector, **limits)
        images, most = _images(work), 2 * options.batch_size + 1
        for image, future in self.read_ahead(prepare, images, most=most):
            try:
                yield image, future.result()
            except ImageDefect as defect:
                letter = {"image": image.image, "rule": defect.rule, "detail": defect.detail}
                if image.image_id:
                    letter["image_id"] = image.image_id
                dead_letters.append(letter)


def _images(work: dict[str, Any]) -> Iterator[_Image]:
    if "files" in work:
        for path, _, _, *archive in work["files"]:
            folder, name = posixpath.split(path)
            store: ImageStore = ImageFolder(folder or ".")
            if archive:
                name, store = path.removeprefix(f"{archive[0]}/"), open_store(archive[0])
            yield _Image(path, "", functools.partial(read_with_retries, store, name))
        return
    shard = ShardInfo(**work["shard"])
    # As training and evaluation: records of other categories are not those of this data set.
    labels = frozenset(work["labels"])
    for number, record in enumerate(checked_records(work["records"], shard, open_file=open_file)):
        name = f"{work['records']}, record {number}"
        try:
            example = decode_example(record)
        except DataError as error:
            raise DataError(f"{name}: {error}; convert the data set again") from None
        check_labels(example["labels"].tolist(), labels, record=name)
        read = functools.partial(bytes, example["image_encoded"])
        yield _Image(example["filename"], example["image_id"], read)


def _prepare(image: _Image, *, detector: "ImageDetector", **limits: Any) -> "PreparedImage":
    try:
        encoded = image.read()
    except FileNotFoundError:
        raise ImageDefect(_PASSING_RULE, "no such file") from None
    except zipfile.BadZipFile as error:
        raise ImageDefect("image_not_decodable", str(error)) from None
    return detector.prepare(encoded, keep_pixels=False, **limits)
