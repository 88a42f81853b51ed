"""The truth of an examples folder's split, as COCO ground truth, and its pictures."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from pix2seq_model.boxes import box_yxyx_to_xywh
from pix2seq_model.data.categories import category_numbers, is_plain_number, names_by_id
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.data.records import decode_example
from pix2seq_model.data.shard_check import checked_records
from pix2seq_model.errors import DataError

# Records hold float32 fractions of the image's sides; three digits of a pixel give the
# annotation file's own numbers back.
_PIXEL_DIGITS = 3


@dataclasses.dataclass(frozen=True)
class SplitTruth:
    """Ground truth of one split.

    Attributes:
      examples_dir: examples folder.
      split: of it.
      coco: images (in the records' order, those without objects too), annotations and categories
        in COCO's format, with the ids of the annotation file if those are whole numbers;
        boxes xywh in pixels.
      image_numbers: id in `coco` by the records' image id, which is text.
      category_numbers: id in `coco` by the records' label.
    """

    examples_dir: epath.PathLike
    split: str
    coco: dict[str, Any]
    image_numbers: dict[str, int]
    category_numbers: dict[int, int]

    @property
    def category_names(self) -> dict[int, str]:
        """Names by id in `coco`."""
        return names_by_id(self.coco["categories"])


def read_split_truth(examples_dir: epath.PathLike, split: str) -> SplitTruth:
    """Reads every record of a split.

    Raises:
      DataError: no such split, a shard that is missing, damaged or not the manifest's, an image id
        occurs twice, a label is not one of the manifest's
        categories, or the number of images is not the manifest's.
    """
    info = read_dataset_info(examples_dir)
    category_ids = category_numbers(info.categories)
    records: dict[str, dict[str, Any]] = {}
    for path, shard in zip(info.shard_paths(examples_dir, split), info.split(split).shards):
        for number, serialized in enumerate(checked_records(path, shard)):
            try:
                record = decode_example(serialized)
            except DataError as error:
                name = f"{path}, record {number}"
                raise DataError(f"{name}: {error}; convert the data set again") from None
            image_id = record["image_id"]
            if image_id in records:
                raise DataError(f"{path}: image {image_id!r} occurs twice in split {split!r}")
            unknown = sorted(set(record["labels"].tolist()) - set(category_ids))
            if unknown:
                raise DataError(
                    f"{path}: image {image_id!r} has the label {unknown[0]}, which is none of the "
                    "manifest's categories; convert the data set again"
                )
            del record["image_encoded"]
            records[image_id] = record
    expected = info.split(split).num_examples
    if len(records) != expected:
        raise DataError(
            f"{examples_dir}: split {split!r} holds {len(records)} images, its manifest says "
            f"{expected}; convert the data set again"
        )
    if not records:
        raise DataError(f"{examples_dir}: split {split!r} is empty: there is nothing to evaluate")

    # The ids as numbers if each is one, written plainly; else they are counted from 1.
    plain = all(map(is_plain_number, records))
    image_numbers = {text: int(text) if plain else n for n, text in enumerate(records, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, record in records.items():
        height, width = record["height"], record["width"]
        image = {"id": image_numbers[image_id], "file_name": record["filename"]}
        images.append({**image, "height": int(height), "width": int(width)})
        boxes = box_yxyx_to_xywh(record["boxes"].astype(float)) * [width, height, width, height]
        for box, category_id, area, crowd in zip(
            boxes.tolist(), record["labels"], record["area"], record["is_crowd"]
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_numbers[image_id],
                    "category_id": category_ids[int(category_id)],
                    "bbox": [round(value, _PIXEL_DIGITS) for value in box],
                    "area": round(float(area), _PIXEL_DIGITS),
                    "iscrowd": int(crowd),
                }
            )
    categories = [{"id": category_ids[row["id"]], "name": row["name"]} for row in info.categories]
    return SplitTruth(
        examples_dir,
        split,
        coco={"images": images, "annotations": annotations, "categories": categories},
        image_numbers=image_numbers,
        category_numbers=category_ids,
    )


def read_images(
    examples_dir: epath.PathLike,
    split: str,
    images: Sequence[Mapping[str, Any]],
    image_ids: Iterable[int],
) -> dict[int, bytes]:
    """Some encoded images of a split; opens only the shards that hold them.

    Args:
      examples_dir: examples folder.
      split: of it.
      images: the `images` of the split's truth, in their order: that of the records.
      image_ids: ids of theirs.
    """
    info = read_dataset_info(examples_dir)
    wanted = set(image_ids)
    found: dict[int, bytes] = {}
    first = 0
    for path, shard in zip(info.shard_paths(examples_dir, split), info.split(split).shards):
        rows = images[first : first + shard.num_examples]
        first += shard.num_examples
        if any(row["id"] in wanted for row in rows):
            # The records first: they are compared with the manifest at their end.
            for record, row in zip(checked_records(path, shard), rows):
                if row["id"] in wanted:
                    found[row["id"]] = decode_example(record)["image_encoded"]
    return found
