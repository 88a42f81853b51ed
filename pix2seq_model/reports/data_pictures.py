"""Pictures of a data set in records: samples with their boxes, and defects where they are."""

import collections
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from PIL import Image

from pix2seq_model.boxes import box_yxyx_to_xywh
from pix2seq_model.data.manifest import DatasetInfo, SplitInfo, dead_letter_file
from pix2seq_model.data.records import decode_example
from pix2seq_model.data.tfrecord import read_records
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json
from pix2seq_model.reports import drawing

_PIXELS = 360
_DEFECT_COLOR = (214, 40, 40)
# A defect's image is looked for in this many shards of a split at most: a shard is some 128 MB.
_SHARDS_SEARCHED = 4


def _examples(shard_path: str) -> Iterator[dict[str, Any]]:
    with epath.Path(shard_path).open("rb") as file:
        for record in read_records(file, name=shard_path):
            yield decode_example(record)


def _boxes(example: Mapping[str, Any]) -> list[drawing.LabelledBox]:
    height, width = example["height"], example["width"]
    boxes = box_yxyx_to_xywh(example["boxes"].astype(float)) * [width, height, width, height]
    return drawing.truth_boxes(
        [
            {"bbox": box, "category_id": int(label), "iscrowd": bool(crowd)}
            for box, label, crowd in zip(
                boxes.tolist(), example["labels"], example["is_crowd"], strict=True
            )
        ],
        dict(zip(example["labels"].tolist(), example["texts"], strict=True)),
    )


def _drawn(example: Mapping[str, Any], boxes: Sequence[drawing.LabelledBox]) -> Image.Image | None:
    try:
        image = drawing.read_rgb(example["image_encoded"], source=example["filename"])
    except DataError:
        return None  # A damaged image was kept; the report can do without its picture.
    return drawing.draw_boxes(image, boxes, longer_side=_PIXELS)


def sample_pictures(
    directory: str | os.PathLike[str], info: DatasetInfo, split: str, *, count: int
) -> list[tuple[str, Image.Image]]:
    """The first images of a split with a caption; records are shuffled, so a random sample."""
    pictures: list[tuple[str, Image.Image]] = []
    for path in info.shard_paths(directory, split):
        for example in _examples(path):
            if len(pictures) >= count:
                return pictures
            number = len(example["labels"])
            what = "1 object" if number == 1 else f"{number} objects"
            caption = f"{example['filename'].rsplit('/', 1)[-1]}: {what}"
            if image := _drawn(example, _boxes(example)):
                pictures.append((caption, image))
    return pictures


def _defect_box(line: Mapping[str, Any]) -> list[drawing.LabelledBox]:
    box = line["bbox"]
    if not box or len(box) != 4 or any(value is None for value in box):
        return []
    x, y, width, height = box
    shown = (min(x, x + width), min(y, y + height), abs(width), abs(height))
    return [drawing.LabelledBox(shown, line["rule"], _DEFECT_COLOR, dashed=True)]


def _draw_wanted(
    shard_path: str, wanted: dict[str, list[dict[str, Any]]]
) -> Iterator[tuple[dict[str, Any], Image.Image | None]]:
    """For each wanted line of images in a shard, the line and its picture."""
    for example in _examples(shard_path):
        for line in wanted.pop(example["image_id"], []):
            yield line, _drawn(example, [*_boxes(example), *_defect_box(line)])
        if not wanted:
            return
    for lines in wanted.values():
        for line in lines:
            yield line, None


def defect_examples(
    directory: str | os.PathLike[str], split: str, info: SplitInfo, *, count: int
) -> dict[str, list[dict[str, Any]]]:
    """Returns up to `count` dead-letter lines of each rule, those with a picture first.

    To what the line says come its `split`, and as `picture` the image with its boxes, None where
    it was not kept. Looks in the first shards that have dead letters.
    """
    folder = epath.Path(directory)
    found: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    taken: collections.Counter[str] = collections.Counter()
    searched = 0
    for shard, shard_info in enumerate(info.shards):
        path = folder / dead_letter_file(split, shard, len(info.shards))
        wanted: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
        for text in path.read_text().splitlines() if path.exists() else ():
            line = parse_json(text, source=os.fspath(path), remedy="convert the data set again")
            if taken[line["rule"]] < count:
                taken[line["rule"]] += 1
                wanted[line["image"]].append(line)
        if not wanted:
            continue
        for line, picture in _draw_wanted(os.fspath(folder / shard_info.file), wanted):
            found[line["rule"]].append({**line, "split": split, "picture": picture})
        searched += 1
        if searched >= _SHARDS_SEARCHED:
            break
    for examples in found.values():
        examples.sort(key=lambda example: example["picture"] is None)
    return found
