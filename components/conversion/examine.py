"""One image with its annotations: read, checked, and turned into its record or its defects."""

import collections
import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from components.conversion.batches import owner
from components.conversion.join_images import JoinedImage
from components.conversion.options import ConversionOptions
from components.storage.image_names import plain_name
from components.storage.image_store import ImageStore, read_with_retries
from pix2seq_model.data.annotations import AnnotationRow, ImageRow
from pix2seq_model.data.box_statistics import BoxStatistics
from pix2seq_model.data.defects import (
    DROPPED_ANNOTATIONS,
    DROPPED_IMAGES,
    Defect,
    RowCounts,
)
from pix2seq_model.data.image_check import CheckedImage, ImageDefect, check_image
from pix2seq_model.data.label_rules import apply_label_rules
from pix2seq_model.data.likely_causes import box_signs
from pix2seq_model.data.records import ObjectRecord, encode_example
from pix2seq_model.errors import UnavailableError

# Counted, but one line for each box of a file without areas would help nobody.
_WITHOUT_LINES = ("area_from_box",)
# No photograph is larger, and a worker holds several files in memory at a time.
_MAX_FILE_BYTES = 200_000_000


@dataclasses.dataclass(frozen=True)
class ExaminedImage:
    """The result for one image id.

    Attributes:
      num_image_rows, num_annotation_rows: rows with this id.
      defects: of the image and its annotations.
      record: serialized example, or None if the image was dropped.
      size: height and width in pixels, of an image that was kept.
      objects: in the record.
      signs: what the boxes as given look like; see `box_signs`.
    """

    num_image_rows: int
    num_annotation_rows: int
    defects: Sequence[Defect]
    record: bytes | None = None
    size: tuple[int, int] = (0, 0)
    objects: Sequence[ObjectRecord] = ()
    signs: Mapping[str, int] = dataclasses.field(default_factory=dict)


def _load(
    row: ImageRow, image: JoinedImage, store: ImageStore, options: ConversionOptions
) -> CheckedImage:
    """Returns the checked image. Raises ImageDefect, and what `read_with_retries` does."""
    if image.refusal:
        raise ImageDefect(*image.refusal)
    if row.problem:
        raise ImageDefect("image_row_invalid", row.problem)
    if image.location is None:
        raise ImageDefect("image_missing", row.file_name)
    if image.location.size > _MAX_FILE_BYTES:
        raise ImageDefect("image_too_large", f"{row.file_name} has {image.location.size} bytes")
    try:
        data = read_with_retries(store, image.location.path)
    except FileNotFoundError:
        raise ImageDefect("image_missing", row.file_name) from None
    except zipfile.BadZipFile as error:
        raise ImageDefect("image_unreadable", f"{row.file_name}: {error}"[:300]) from None
    try:
        return check_image(
            data,
            file_name=plain_name(row.file_name),
            expected_size=(row.height, row.width) if row.height else None,
            max_pixels=options.max_pixels,
            decode=options.check_pixels,
        )
    except UnavailableError as error:
        raise UnavailableError(f"{row.file_name}: {error}") from None


def _lost_annotations(rows: Sequence[AnnotationRow], rule: str, detail: str) -> list[Defect]:
    return [
        Defect(
            "annotation_row_invalid" if row.problem else rule,
            owner(row),
            row.annotation_id,
            row.problem or detail,
            row.bbox,
        )
        for row in rows
    ]


def examine_image(
    image: JoinedImage,
    *,
    store: ImageStore,
    categories: Mapping[str, tuple[int, str]],
    options: ConversionOptions,
) -> ExaminedImage:
    """Reads and checks one image and its annotations.

    Args:
      image: metadata.
      store: where its split's images are.
      categories: category key to (stored id, name), of its split.
      options: of the conversion.

    Raises:
      UnavailableError: the image cannot be read now.
    """
    rows, annotations = image.image_rows, image.annotation_rows
    num_rows = (len(rows), len(annotations))
    if not rows:
        detail = f"image_id {image.image_id}"
        lost = _lost_annotations(annotations, "annotation_without_image", detail)
        return ExaminedImage(*num_rows, lost)
    first = rows[0]
    defects = [
        Defect("image_duplicate_id", owner(row), "", f"{row.file_name} has the id again")
        for row in rows[1:]
    ]
    try:
        checked = _load(first, image, store, options)
    except ImageDefect as defect:
        defects.append(Defect(defect.rule, owner(first), "", defect.detail))
        defects += _lost_annotations(annotations, "annotation_of_dropped_image", defect.rule)
        return ExaminedImage(*num_rows, defects)
    changes = [*checked.changes, *image.changes]
    defects += [Defect(rule, first.image_id, "", detail) for rule, detail in changes]
    size = (checked.height, checked.width)
    described: dict[str, Any] = {"image_id": first.image_id, "height": size[0], "width": size[1]}
    objects, label_defects = apply_label_rules(
        annotations,
        **described,
        categories=categories,
        seed=options.seed,
        drop_fake=options.drop_fake,
        drop_reflected=options.drop_reflected,
    )
    record = encode_example(
        **described,
        image_encoded=checked.encoded,
        image_format=checked.image_format,
        filename=plain_name(first.file_name),
        objects=objects,
    )
    signs = box_signs(annotations, height=size[0], width=size[1])
    return ExaminedImage(*num_rows, [*defects, *label_defects], record, size, objects, signs)


class Tally:
    """Adds up the results for the images of a shard."""

    def __init__(self) -> None:
        self.images, self.annotations = RowCounts(), RowCounts()
        self.statistics = BoxStatistics()
        self.dead_letters: list[dict[str, Any]] = []
        self.signs: collections.Counter[str] = collections.Counter()

    def add(self, examined: ExaminedImage) -> None:
        self.images.rows_in += examined.num_image_rows
        self.annotations.rows_in += examined.num_annotation_rows
        self.signs.update(examined.signs)
        if examined.record is not None:
            objects = examined.objects
            self.images.written += 1
            self.annotations.written += len(objects)
            self.statistics.add_image(
                height=examined.size[0],
                width=examined.size[1],
                boxes_yxyx=[o.box_yxyx for o in objects],
                labels=[o.label for o in objects],
                areas=[o.area for o in objects],
                is_crowd=[o.is_crowd for o in objects],
            )
        for defect in examined.defects:
            if defect.rule in DROPPED_IMAGES:
                self.images.dropped[defect.rule] += 1
            elif defect.rule in DROPPED_ANNOTATIONS:
                self.annotations.dropped[defect.rule] += 1
            else:
                kind = self.annotations if defect.annotation else self.images
                kind.changed[defect.rule] += 1
            if defect.rule not in _WITHOUT_LINES:
                self.dead_letters.append(defect._asdict())

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images.to_json(),
            "annotations": self.annotations.to_json(),
            "statistics": self.statistics.to_json(),
            "signs": dict(self.signs),
        }
