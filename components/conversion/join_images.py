"""Images with their annotations, and with where each image file was found."""

import collections
import functools
from collections.abc import Iterable, Iterator
from concurrent import futures
from operator import itemgetter
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue

from components.conversion.batches import image_hash, owner, pack, unpack
from components.conversion.find_repeats import LEAK, REPEAT
from components.conversion.options import ConversionOptions
from components.conversion.read_annotations import ANNOTATION, IMAGE
from components.storage.image_store import ImageStore, Location, open_store
from pix2seq_model.data.annotations import AnnotationRow, ImageRow

JOINED = "joined"
_LOOKING_THREADS = 16
_IMAGES_PER_BATCH = 256


class JoinedImage(NamedTuple):
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
        image_hash_, images, annotations, location, *others = self
        return [
            image_hash_,
            [[*row] for row in images],
            [row.packed() for row in annotations],
            location and [*location],
            *others,
        ]

    @classmethod
    def from_row(cls, row: list[Any]) -> "JoinedImage":
        image_hash_, images, annotations, location, *others = row
        return cls(
            image_hash_,
            [ImageRow(*values) for values in images],
            [AnnotationRow.unpacked(values) for values in annotations],
            location and Location(*location),
            *others,
        )


def _join(element: tuple[str, Iterable[bytes]], options: ConversionOptions) -> Iterator[Any]:
    """(bucket key, batches of all kinds) to (split, batch of joined images) and split sizes."""
    key, batches = element
    split = key.partition("/")[0]
    images: dict[str, list[ImageRow]] = collections.defaultdict(list)
    annotations: dict[str, list[list[Any]]] = collections.defaultdict(list)
    findings: dict[str, dict[str, str]] = {REPEAT: {}, LEAK: {}}
    for batch in batches:
        kind, rows = unpack(batch)
        if kind == IMAGE:
            for row in rows:
                images[owner(row)].append(ImageRow(*row))
        elif kind == ANNOTATION:
            for row in rows:
                annotations[owner(row)].append(row)
        else:
            findings[kind].update(dict(rows))
    joined = [
        JoinedImage(
            image_hash(name, split=split, seed=options.seed),
            sorted(images[name]),
            [AnnotationRow.unpacked(row) for row in sorted(annotations[name], key=itemgetter(0))],
            None,
            findings[REPEAT].get(name, ""),
            findings[LEAK].get(name, ""),
        )
        for name in {**images, **annotations}
    ]
    joined.sort(key=lambda image: (image.image_hash, image.image_id))
    locate = functools.partial(_located, store=open_store(options.splits[split].images))
    with futures.ThreadPoolExecutor(_LOOKING_THREADS) as threads:
        joined = list(threads.map(locate, joined))
    sizes = [image.location.size for image in joined if image.location]
    num_images = sum(bool(image.image_rows) for image in joined)
    yield pvalue.TaggedOutput("sizes", [split, num_images, len(sizes), sum(sizes)])
    for start in range(0, len(joined), _IMAGES_PER_BATCH):
        some = joined[start : start + _IMAGES_PER_BATCH]
        yield split, pack(JOINED, [image.to_row() for image in some])


def _located(image: JoinedImage, *, store: ImageStore) -> JoinedImage:
    rows = image.image_rows
    if not rows or rows[0].problem or image.repeats:
        return image
    return image._replace(location=store.locate(rows[0].file_name))


@beam.ptransform_fn
def JoinImages(batches: beam.PCollection, options: ConversionOptions) -> pvalue.DoOutputsTuple:  # noqa: N802
    """Joins the rows of each image and looks for its file.

    Input: (bucket key, batch) of every kind.
    Outputs:
      `images`: (split, batch of `JoinedImage`), bytes.
      `sizes`: [split, images, images found, their bytes], one for each bucket.
    """
    return (
        batches
        | "By bucket" >> beam.GroupByKey()
        | "Join"
        >> beam.FlatMap(_join, options)
        .with_output_types(tuple[str, bytes], sizes=list[Any])
        .with_outputs("sizes", main="images")
    )
