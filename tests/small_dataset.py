"""A small data set in COCO's format, written to a folder, for tests of the conversion."""

import copy
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from components.conversion.options import ConversionOptions, SplitSource

CATEGORIES = [{"id": 2, "name": "ring"}, {"id": 9, "name": "box"}]
HEIGHT, WIDTH = 24, 32


def image_bytes(seed: int, *, image_format="JPEG", mode="RGB", size=(HEIGHT, WIDTH)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, image_format)
    return buffer.getvalue()


class SmallDataset:
    """`num_images` images of two boxes each; ids 100, 101, ..., files `pictures/100.jpg`.

    Attributes:
      content: What the JSON will hold; change it at will before `write`.
      files: File name to bytes, likewise.
    """

    def __init__(self, num_images: int = 12, *, first_id: int = 100):
        ids = range(first_id, first_id + num_images)
        self.files = {f"pictures/{i}.jpg": image_bytes(i) for i in ids}
        self.content = {
            "images": [
                {"id": i, "file_name": f"pictures/{i}.jpg", "height": HEIGHT, "width": WIDTH}
                for i in ids
            ],
            "annotations": [
                {
                    "id": 10 * i + k,
                    "image_id": i,
                    "category_id": (2, 9)[k],
                    "bbox": [1.0 + k, 2.0 + k, 10.0, 12.5],
                    "area": 100.0 + k,
                    "iscrowd": 0,
                }
                for i in ids
                for k in range(2)
            ],
            "categories": copy.deepcopy(CATEGORIES),
        }

    def image(self, image_id: int) -> dict:
        return next(row for row in self._objects("images") if row["id"] == image_id)

    def boxes(self, image_id: int) -> list[dict]:
        return [row for row in self._objects("annotations") if row["image_id"] == image_id]

    def _objects(self, array: str) -> list[dict]:
        return [row for row in self.content[array] if isinstance(row, dict)]

    def write(self, folder: Path) -> SplitSource:
        for name, data in self.files.items():
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "labels.json").write_text(json.dumps(self.content))
        return SplitSource(images=str(folder / "images"), annotations=str(folder / "labels.json"))


def options(split_sources: dict[str, SplitSource], **changes) -> ConversionOptions:
    return ConversionOptions(name="small", splits=split_sources, **changes)
