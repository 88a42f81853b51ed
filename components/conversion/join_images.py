"""Images with their annotations, and with where each image file was found."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from typing import Any

import apache_beam as beam
import orjson
from apache_beam import pvalue

from components.conversion.batches import image_hash, pack, unpack
from components.conversion.find_repeats import LEAK, REPEAT
from components.conversion.options import ConversionOptions
from components.conversion.read_annotations import ANNOTATION, IMAGE
from components.storage.image_store import Location, open_store
from pix2seq_model.data.annotations import AnnotationRow, ImageRow

JOINED = "joined"
_LOOKING_THREADS = 16
_IMAGES_PER_BATCH = 256


@dataclasses.dataclass(frozen=True)
class JoinedImage:
    """All metadata under one image id.

    Attributes:
      image_hash: Of the id.
      image_rows: Rows with this id, the first one first; empty if there is none, in which case
        the annotations have no image.
      annotation_rows: Of this id.
      location: Where the first row's file is; None if it is missing or was not looked for.
      repeats: The id of an earlier image with the same file, or empty.
      leaks: Other splits with an image of this base name, or empty.
    """

    image_hash: int
    image_rows: list[ImageRow]
    annotation_rows: list[AnnotationRow]
    location: Location | None
    repeats: str
    leaks: str

    @property
    def image_id(self) -> str:
        """As text; empty for rows that have none."""
        return (self.image_rows or self.annotation_rows)[0].image_id

    def to_row(self) -> list[Any]:
        return [
            self.image_hash,
            [[*row] for row in self.image_rows],
            [row.packed() for row in self.annotation_rows],
            [*self.location] if self.location else None,
            self.repeats,
            self.leaks,
        ]

    @classmethod
    def from_row(cls, row: list[Any]) -> "JoinedImage":
        return cls(
            row[0],
            [ImageRow(*values) for values in row[1]],
            [AnnotationRow.unpacked(values) for values in row[2]],
            Location(*row[3]) if row[3] else None,
            row[4],
            row[5],
        )


class _JoinImages(beam.DoFn):
    """(bucket key, batches of all kinds) to (split, batch of joined images) and split sizes."""

    SIZES = "sizes"

    def __init__(self, options: ConversionOptions):
        self._options = options

    def setup(self) -> None:
        self._threads = futures.ThreadPoolExecutor(_LOOKING_THREADS)

    def teardown(self) -> None:
        self._threads.shutdown()

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[Any]:
        key, batches = element
        split = key.partition("/")[0]
        images: dict[str, list[ImageRow]] = collections.defaultdict(list)
        annotations: dict[str, list[list[Any]]] = collections.defaultdict(list)
        findings: dict[str, dict[str, str]] = {REPEAT: {}, LEAK: {}}
        for batch in batches:
            kind, rows = unpack(batch)
            if kind == IMAGE:
                for row in map(ImageRow._make, rows):
                    images[row.image_id or f"row {row.ordinal}"].append(row)
            elif kind == ANNOTATION:
                for values in rows:
                    annotations[values[1] or f"row {values[0]}"].append(values)
            else:
                findings[kind].update(dict(rows))
        joined = [
            self._join(split, owner, images[owner], annotations[owner], findings)
            for owner in {**images, **annotations}
        ]
        joined.sort(key=lambda image: (image.image_hash, image.image_id))
        joined = self._locate(split, joined)
        sizes = [image.location.size for image in joined if image.location]
        num_images = sum(bool(image.image_rows) for image in joined)
        yield pvalue.TaggedOutput(
            self.SIZES, orjson.dumps([split, num_images, len(sizes), sum(sizes)])
        )
        for start in range(0, len(joined), _IMAGES_PER_BATCH):
            some = joined[start : start + _IMAGES_PER_BATCH]
            yield split, pack(JOINED, [image.to_row() for image in some])

    def _join(
        self,
        split: str,
        owner: str,
        image_rows: list[ImageRow],
        annotation_rows: list[list],
        findings: Mapping[str, Mapping[str, str]],
    ) -> JoinedImage:
        return JoinedImage(
            image_hash(owner, split=split, seed=self._options.seed),
            sorted(image_rows),
            [AnnotationRow.unpacked(v) for v in sorted(annotation_rows, key=lambda v: v[0])],
            None,
            findings[REPEAT].get(owner, ""),
            findings[LEAK].get(owner, ""),
        )

    def _locate(self, split: str, joined: list[JoinedImage]) -> list[JoinedImage]:
        store = open_store(self._options.splits[split].images)

        def locate(image: JoinedImage) -> JoinedImage:
            rows = image.image_rows
            if not rows or rows[0].problem or image.repeats:
                return image
            return dataclasses.replace(image, location=store.locate(rows[0].file_name))

        return list(self._threads.map(locate, joined))


class JoinImages(beam.PTransform):
    """Joins the rows of each image and looks for its file.

    Input: (bucket key, batch) of every kind.
    Output, a dictionary of PCollections:
      `images`: (split, batch of `JoinedImage`), bytes.
      `sizes`: bytes, JSON of [split, images, images found, their bytes], one for each bucket.
    """

    def __init__(self, options: ConversionOptions):
        self._options = options

    def expand(self, batches: beam.PCollection) -> dict[str, beam.PCollection]:
        outputs = (
            batches
            | "By bucket" >> beam.GroupByKey()
            | "Join"
            >> beam.ParDo(_JoinImages(self._options)).with_outputs(_JoinImages.SIZES, main="images")
        )
        outputs.images.element_type = beam.typehints.KV[str, bytes]
        outputs[_JoinImages.SIZES].element_type = bytes
        return {"images": outputs.images, "sizes": outputs[_JoinImages.SIZES]}
