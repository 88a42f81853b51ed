"""A data set in the style of Objects365's annotation file, of any size, made from a seed.

The JSON is written as a stream. Its annotations come in no order of images, coordinates have the
real file's many digits, and a few rows have its defects. The images are links to a few small
files, so that 200,000 of them cost no space.
"""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

# Small, as the pixels play no part in what is measured; the boxes' numbers are as long as ever.
_HEIGHT, _WIDTH = 72, 96
_NUM_CATEGORIES = 365
# A file takes some ten thousand hard links.
_LINKS_PER_FILE = 20_000
_ROWS_AT_A_TIME = 50_000
_DUPLICATES = 0.002
_OUTSIDE = 0.001


def _image_rows(num_images: int) -> Iterator[dict]:
    for number in range(num_images):
        patch = number // 4000
        name = f"images/v1/patch{patch}/objects365_v1_{number:08d}.jpg"
        yield {
            "height": _HEIGHT,
            "id": number,
            "license": 5,
            "width": _WIDTH,
            "file_name": name,
            "url": "",
        }


def _annotation_rows(num_images: int, num_boxes: int, seed: int) -> Iterator[dict]:
    rng = np.random.default_rng(seed)
    for start in range(0, num_boxes, _ROWS_AT_A_TIME):
        count = min(_ROWS_AT_A_TIME, num_boxes - start)
        images = rng.integers(0, num_images, count).tolist()
        categories = (1 + rng.zipf(1.3, count) % _NUM_CATEGORIES).tolist()
        corner = rng.uniform(0, 0.8, (count, 2)) * [_WIDTH, _HEIGHT]
        size = rng.uniform(0.01, 0.2, (count, 2)) * [_WIDTH, _HEIGHT]
        outside = rng.uniform(size=count) < _OUTSIDE
        corner[outside] += [_WIDTH, _HEIGHT]
        boxes = np.concatenate([corner, size], axis=1).tolist()
        again = rng.uniform(size=count) < _DUPLICATES
        previous: dict = {}
        for position in range(count):
            row = {
                "id": start + position,
                "iscrowd": 0,
                "isfake": 0,
                "area": boxes[position][2] * boxes[position][3],
                "isreflected": 0,
                "bbox": boxes[position],
                "image_id": images[position],
                "category_id": categories[position],
            }
            if again[position] and previous:
                row = {**previous, "id": start + position}
            previous = row
            yield row


def _write_array(file: io.TextIOBase, name: str, rows: Iterator[dict]) -> None:
    file.write(f'"{name}": [')
    for position, row in enumerate(rows):
        file.write((", " if position else "") + json.dumps(row))
    file.write("]")


def write_dataset(folder: Path, *, num_images: int, num_boxes: int, seed: int = 0) -> None:
    """Writes `zhiyuan_objv2_train.json` and the images that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "zhiyuan_objv2_train.json").open("w") as file:
        file.write("{")
        _write_array(file, "images", _image_rows(num_images))
        file.write(", ")
        _write_array(file, "annotations", _annotation_rows(num_images, num_boxes, seed))
        file.write(", ")
        names = ({"name": f"category {n}", "id": n} for n in range(1, _NUM_CATEGORIES + 1))
        _write_array(file, "categories", names)
        file.write("}")
    buffer = io.BytesIO()
    Image.new("L", (_WIDTH, _HEIGHT), 128).save(buffer, "JPEG")
    source = folder / "source.jpg"
    for number, row in enumerate(_image_rows(num_images)):
        path = folder / row["file_name"]
        if number % 4000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if number % _LINKS_PER_FILE == 0:
            source = folder / f"source{number}.jpg"
            source.write_bytes(buffer.getvalue())
        os.link(source, path)
