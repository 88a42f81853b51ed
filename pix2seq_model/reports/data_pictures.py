"""Pictures of a data set in records: samples with their boxes, and defects where they are."""

import collections
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from pix2seq_model.boxes import box_yxyx_to_xywh
from pix2seq_model.data.manifest import DatasetInfo, SplitInfo, dead_letter_file
from pix2seq_model.data.records import decode_example
from pix2seq_model.data.tfrecord import read_records
from pix2seq_model.errors import DataError
from pix2seq_model.reports import drawing

_PIXELS = 360
_DEFECT_COLOR = (214, 40, 40)
# A defect's image is looked for in this many shards of a split at most: a shard is some 128 MB.
_SHARDS_SEARCHED = 4


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture inside the page: its data, size in pixels, and a line of text."""

    uri: str
    width: int
    height: int
    caption: str


@dataclasses.dataclass(frozen=True)
class DefectExample:
    """A dead-letter line, with a picture where its image was kept."""

    split: str
    image: str
    annotation: str
    detail: str
    picture: Picture | None


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


def _picture(
    example: Mapping[str, Any], boxes: Sequence[drawing.LabelledBox], caption: str
) -> Picture | None:
    try:
        image = drawing.read_rgb(example["image_encoded"], source=example["filename"])
    except DataError:
        return None  # A damaged image was kept; the report can do without its picture.
    drawn = drawing.draw_boxes(image, boxes, longer_side=_PIXELS)
    return Picture(drawing.data_uri(drawn), drawn.width, drawn.height, caption)


def sample_pictures(
    directory: str | os.PathLike[str], info: DatasetInfo, split: str, *, count: int
) -> list[Picture]:
    """Draws the first images of a split; records are shuffled, so these are a random sample."""
    pictures: list[Picture] = []
    for path in info.shard_paths(directory, split):
        for example in _examples(path):
            if len(pictures) >= count:
                return pictures
            number = len(example["labels"])
            what = "1 object" if number == 1 else f"{number} objects"
            caption = f"{example['filename'].rsplit('/', 1)[-1]}: {what}"
            if picture := _picture(example, _boxes(example), caption):
                pictures.append(picture)
    return pictures


def _read_lines(directory: str, split: str, shard: int, num_shards: int) -> list[dict[str, Any]]:
    path = epath.Path(directory) / dead_letter_file(split, shard, num_shards)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _defect_box(line: Mapping[str, Any]) -> list[drawing.LabelledBox]:
    box = line["bbox"]
    if not box or len(box) != 4 or any(value is None for value in box):
        return []
    x, y, width, height = box
    corner = (min(x, x + width), min(y, y + height))
    shown = (*corner, abs(width), abs(height))
    return [drawing.LabelledBox(shown, line["rule"], _DEFECT_COLOR, dashed=True)]


def _draw_wanted(
    shard_path: str, wanted: Mapping[str, list[dict[str, Any]]]
) -> Iterator[tuple[dict[str, Any], Picture | None]]:
    """For each wanted line of images in a shard, the line and its picture."""
    left = dict(wanted)
    for example in _examples(shard_path):
        for line in left.pop(example["image_id"], []):
            boxes = [*_boxes(example), *_defect_box(line)]
            yield line, _picture(example, boxes, f"image {line['image']}")
        if not left:
            return
    for lines in left.values():
        for line in lines:
            yield line, None


def defect_examples(
    directory: str | os.PathLike[str], split: str, info: SplitInfo, *, count: int
) -> dict[str, list[DefectExample]]:
    """Returns up to `count` dead-letter lines of each rule, those with a picture first.

    Looks in the first shards that have dead letters.
    """
    folder = os.fspath(directory)
    found: dict[str, list[DefectExample]] = collections.defaultdict(list)
    searched = 0
    for shard, shard_info in enumerate(info.shards):
        lines = _read_lines(folder, split, shard, len(info.shards))
        wanted: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
        taken: collections.Counter[str] = collections.Counter()
        for line in lines:
            if len(found[line["rule"]]) + taken[line["rule"]] < count:
                taken[line["rule"]] += 1
                wanted[line["image"]].append(line)
        if not wanted:
            continue
        path = os.fspath(epath.Path(folder) / shard_info.file)
        for line, picture in _draw_wanted(path, wanted):
            found[line["rule"]].append(
                DefectExample(split, line["image"], line["annotation"], line["detail"], picture)
            )
        searched += 1
        if searched >= _SHARDS_SEARCHED:
            break
    return {
        rule: sorted(examples, key=lambda example: example.picture is None)
        for rule, examples in sorted(found.items())
        if examples
    }
