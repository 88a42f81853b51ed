"""Images with where their files were found; and, inside a shard, with their annotations."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue

from components.conversion.batches import image_hash, owner, pack, unpack
from components.conversion.locate_images import FOUND
from components.conversion.options import ConversionOptions
from components.conversion.read_annotations import ANNOTATION, IMAGE
from components.storage.image_store import Location
from pix2seq_model.data.annotations import AnnotationRow, ImageRow

JOINED = "joined"
_IMAGES_PER_BATCH = 256
_FILES_NAMED = _REASONS_KEPT = 3


class JoinedImage(NamedTuple):
    """All metadata under one image id.

    Attributes:
      image_hash: of the id.
      image_rows: rows with this id, the first one first; empty if there is none, in which case
        the annotations have no image.
      annotation_rows: of this id.
      location: where the first row's file is; None if it is missing or was not looked for.
      refusal: rule and detail of why the rows get no file; None if they get one, or if the first
        row has a problem of its own.
      changes: rule and detail of what is counted of an image that is kept.
    """

    image_hash: int
    image_rows: list[ImageRow]
    annotation_rows: list[AnnotationRow]
    location: Location | None
    refusal: Sequence[str] | None
    changes: Sequence[Sequence[str]]

    @property
    def image_id(self) -> str:
        """As text; empty for rows that have none."""
        return (self.image_rows or self.annotation_rows)[0].image_id

    def why_not_found(self) -> str:
        rule, detail = self.refusal or ("image_row_invalid", self.image_rows[0].problem)
        return f"{rule}: {detail}"

    def to_row(self) -> list[Any]:
        """The values as lists, without the annotations, which come to the image later."""
        image_hash_, images, _, location, *others = self
        return [image_hash_, [[*row] for row in images], location and [*location], *others]

    @classmethod
    def from_row(cls, row: list[Any], annotation_rows: list[AnnotationRow]) -> "JoinedImage":
        """The image of which `to_row` gave the values, with its annotations."""
        image_hash_, images, location, *others = row
        return cls(
            image_hash_,
            [ImageRow(*values) for values in images],
            annotation_rows,
            location and Location(*location),
            *others,
        )


def _join(element: tuple[str, Iterable[bytes]], options: ConversionOptions) -> Iterator[Any]:
    """(bucket key, batches of all kinds) to (split, batch of joined images) and split sizes."""
    key, batches = element
    split = key.partition("/")[0]
    images: dict[str, list[ImageRow]] = collections.defaultdict(list)
    found: dict[str, list[Any]] = {}
    for batch in batches:
        kind, rows = unpack(batch)
        if kind == IMAGE:
            for row in rows:
                images[owner(row)].append(ImageRow(*row))
        elif kind == FOUND:
            found.update({image_id: values for image_id, *values in rows})
    joined = [
        JoinedImage(
            image_hash(name, split=split, seed=options.seed),
            sorted(rows),
            [],
            *_place(sorted(rows), found.get(name)),
        )
        for name, rows in images.items()
    ]
    joined.sort(key=lambda image: (image.image_hash, image.image_id))
    sizes = [image.location.size for image in joined if image.location]
    reasons = [image.why_not_found() for image in joined if not image.location]
    yield pvalue.TaggedOutput(
        "sizes", [split, len(joined), len(sizes), sum(sizes), reasons[:_REASONS_KEPT]]
    )
    for start in range(0, len(joined), _IMAGES_PER_BATCH):
        some = joined[start : start + _IMAGES_PER_BATCH]
        yield split, pack(JOINED, [image.to_row() for image in some])


def _place(rows: list[ImageRow], found: list[Any] | None) -> tuple[Any, Any, Any]:
    """Location, refusal and changes of the rows under one id.

    Of rows that are the same the first is kept. If they name different files, nobody can tell
    whose the annotations are.
    """
    names = dict.fromkeys(row.file_name for row in rows)
    if len(names) > 1:
        listed = " and ".join([*names][:_FILES_NAMED])
        return None, ("image_duplicate_id", f"{listed} have this id"), []
    if rows[0].problem or not found:
        return None, None, []
    location, refusal, changes = found
    return location and Location(*location), refusal, changes


@beam.ptransform_fn
def JoinImages(batches: beam.PCollection, options: ConversionOptions) -> pvalue.DoOutputsTuple:  # noqa: N802
    """Joins the rows of each image with what was found of its file; no annotations yet.

    Input: (bucket key, batch) of every kind.
    Outputs:
      `images`: (split, batch of `JoinedImage`), bytes.
      `sizes`: [split, images, images found, their bytes, why some were not], one for each bucket.
    """
    return (
        batches
        | "By bucket" >> beam.GroupByKey()
        | "Join"
        >> beam.FlatMap(_join, options)
        .with_output_types(tuple[str, bytes], sizes=list[Any])
        .with_outputs("sizes", main="images")
    )


def join_annotations(batches: Iterable[bytes], *, split: str, seed: int) -> Iterator[JoinedImage]:
    """Yields the images of a part of a split with their annotations, in their order.

    Args:
      batches: of `JoinedImage` and `AnnotationRow`, all there are of these images.
      split, seed: as for `image_hash`.
    """
    images: list[list[Any]] = []
    annotations: dict[str, list[list[Any]]] = collections.defaultdict(list)
    for batch in batches:
        kind, rows = unpack(batch)
        if kind == JOINED:
            images += rows
        elif kind == ANNOTATION:
            for row in rows:
                annotations[owner(row)].append(row)

    def rows_of(name: str) -> list[AnnotationRow]:
        rows = annotations.pop(name, [])
        rows.sort(key=itemgetter(0))
        return [AnnotationRow.unpacked(row) for row in rows]

    joined = [JoinedImage.from_row(image, rows_of(owner(image[1][0]))) for image in images]
    for name in [*annotations]:
        hash_ = image_hash(name, split=split, seed=seed)
        joined.append(JoinedImage(hash_, [], rows_of(name), None, None, []))
    yield from sorted(joined, key=lambda image: (image.image_hash, image.image_id))
