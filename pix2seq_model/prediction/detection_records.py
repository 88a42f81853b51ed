"""What was found in one image, as a line of JSON and as a TFRecord.

A line:

    {"image": "photos/1.jpg", "image_id": "1", "width": 640, "height": 480, "detections":
     [{"category_id": 5, "category": "tent", "bbox": [x, y, width, height], "score": 0.93}]}

The box is in pixels. A record is a `tf.train.Example` with the feature names that the TF Object
Detection API gives to detections:

| feature | type | meaning |
|---|---|---|
| image/filename | bytes | where the image is |
| image/source_id | bytes | its id, where it came from records; else as `image/filename` |
| image/height, image/width | int64 | pixels |
| image/detection/bbox/{ymin,xmin,ymax,xmax} | float | 0 to 1 |
| image/detection/label | int64 | category id of the annotation file |
| image/detection/class/text | bytes | category name |
| image/detection/score | float | 0 to 1 |
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pix2seq_model.boxes import box_xywh_to_yxyx
from pix2seq_model.data.example_proto import encode
from pix2seq_model.data.records import BOX_EDGES


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDetections:
    """The objects of an image.

    Attributes:
      image: where it is, or its file name in records.
      image_id: its id in the data set; empty if it is just a file.
      width, height: pixels.
      rows: category_id, bbox [x, y, width, height] in pixels, score.
    """

    image: str
    image_id: str
    width: int
    height: int
    rows: Sequence[Mapping[str, Any]]


def json_line(found: ImageDetections, category_names: Mapping[int, str]) -> bytes:
    """The line of JSON, with its end."""
    detections = [
        {"category_id": row["category_id"], "category": category_names[row["category_id"]], **row}
        for row in found.rows
    ]
    line = {
        "image": found.image,
        **({"image_id": found.image_id} if found.image_id else {}),
        "width": found.width,
        "height": found.height,
        "detections": detections,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def encode_detections(found: ImageDetections, category_names: Mapping[int, str]) -> bytes:
    """The serialized record; the same detections give the same bytes."""
    boxes_xywh = np.array([row["bbox"] for row in found.rows], float).reshape(-1, 4)
    boxes = box_xywh_to_yxyx(boxes_xywh) / [found.height, found.width, found.height, found.width]
    edges = zip(BOX_EDGES, boxes.T.tolist())
    labels = [row["category_id"] for row in found.rows]
    names = [category_names[label].encode() for label in labels]
    return encode(
        {
            "image/filename": ("bytes", [found.image.encode()]),
            "image/source_id": ("bytes", [(found.image_id or found.image).encode()]),
            "image/height": ("int64", [found.height]),
            "image/width": ("int64", [found.width]),
            **{f"image/detection/bbox/{edge}": ("float", values) for edge, values in edges},
            "image/detection/label": ("int64", labels),
            "image/detection/class/text": ("bytes", names),
            "image/detection/score": ("float", [row["score"] for row in found.rows]),
        }
    )
