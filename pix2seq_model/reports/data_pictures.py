"""Pictures of a data set in records: samples with their boxes, and defects where they are."""

import collections
import dataclasses
import os
import sys
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

# A page shows them at about three fifths of this; tags are drawn so that they can be read there.
_PIXELS, _TAG_PIXELS = 480, 18
# More tags than this hide what is in the picture; the key below it names the classes anyway.
_MOST_TAGS = 6
_DEFECT_COLOR = (214, 40, 40)
# A defect's image is looked for in this many shards of a split at most: a shard is some 128 MB.
_SHARDS_SEARCHED = 4
_NOT_SHOWN = "the line is not shown; convert the data set again to have it"


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image of a split.

    Attributes:
      file_name: without its folders.
      objects: how many, in words; crowds apart, as the charts count them.
      picture: the image with its boxes.
      key: name, colour as CSS writes it and number of boxes of each class in it, crowds included.
    """

    file_name: str
    objects: str
    picture: Image.Image
    key: tuple[tuple[str, str, int], ...]


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
    return drawing.draw_boxes(image, boxes, longer_side=_PIXELS, font_size=_TAG_PIXELS)


def _without_crowded_tags(boxes: list[drawing.LabelledBox]) -> list[drawing.LabelledBox]:
    if len(boxes) <= _MOST_TAGS:
        return boxes
    return [dataclasses.replace(box, text="") for box in boxes]


def _objects_text(is_crowd: Sequence[bool]) -> str:
    crowds = sum(map(bool, is_crowd))
    number = len(is_crowd) - crowds
    words = [f"{number} object{'s' * (number != 1)}"]
    if crowds:
        words.append(f"{crowds} crowd{'s' * (crowds != 1)}")
    return ", ".join(words)


def _key(example: Mapping[str, Any]) -> tuple[tuple[str, str, int], ...]:
    """The classes of an image, the most frequent first."""
    labels = example["labels"].tolist()
    names = dict(zip(labels, example["texts"], strict=True))
    return tuple(
        (names[label], "rgb({}, {}, {})".format(*drawing.class_color(label)), number)
        for label, number in collections.Counter(labels).most_common()
    )


def sample_pictures(
    directory: str | os.PathLike[str], info: DatasetInfo, split: str, *, count: int
) -> list[Sample]:
    """The first images of a split; records are shuffled, so a random sample."""
    samples: list[Sample] = []
    for path in info.shard_paths(directory, split):
        for example in _examples(path):
            if len(samples) >= count:
                return samples
            if picture := _drawn(example, _without_crowded_tags(_boxes(example))):
                file_name = example["filename"].rsplit("/", 1)[-1]
                objects = _objects_text(example["is_crowd"].tolist())
                samples.append(Sample(file_name, objects, picture, _key(example)))
    return samples


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
            boxes = _without_crowded_tags(_boxes(example))
            yield line, _drawn(example, [*boxes, *_defect_box(line)])
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
            try:
                line = parse_json(text, source=os.fspath(path), fix=_NOT_SHOWN, kind=dict)
            except DataError as error:
                print(error, file=sys.stderr, flush=True)
                continue
            if not {"rule", "image", "bbox"} <= line.keys():
                print(
                    f"{os.fspath(path)}: a line lacks its rule, image or bbox; {_NOT_SHOWN}",
                    file=sys.stderr,
                    flush=True,
                )
                continue
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
