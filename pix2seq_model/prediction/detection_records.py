"""What was found in one image, as a line of JSON and as a TFRecord.

A line:

    {"image": "photos/1.jpg", "image_id": "1", "width": 640, "height": 480, "detections":
     [{"category_id": 5, "category": "tent", "bbox": [x, y, width, height], "score": 0.93}]}

The box is in pixels. A record is a `tf.train.Example` with the feature names that the TF Object
Detection API gives to detections:

| feature | type | meaning |
|---|---|---|
| image/filename | bytes | where the image lies |
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
from pix2seq_model.data.example_proto import Example
from pix2seq_model.data.records import BOX_EDGES


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDetections:
    """The objects of an image.

    Attributes:
      image: where it lies, or its file name among records.
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
        {
            "category_id": row["category_id"],
            "category": category_names[row["category_id"]],
            "bbox": row["bbox"],
            "score": row["score"],
        }
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
    example = Example()
    feature = example.features.feature
    feature["image/filename"].bytes_list.value.append(found.image.encode())
    feature["image/source_id"].bytes_list.value.append((found.image_id or found.image).encode())
    feature["image/height"].int64_list.value.append(found.height)
    feature["image/width"].int64_list.value.append(found.width)
    boxes_xywh = np.array([row["bbox"] for row in found.rows], float).reshape(-1, 4)
    boxes = box_xywh_to_yxyx(boxes_xywh) / [found.height, found.width, found.height, found.width]
    for edge, values in zip(BOX_EDGES, boxes.T.tolist()):
        feature[f"image/detection/bbox/{edge}"].float_list.value.extend(values)
    labels = [row["category_id"] for row in found.rows]
    feature["image/detection/label"].int64_list.value.extend(labels)
    feature["image/detection/class/text"].bytes_list.value.extend(
        category_names[label].encode() for label in labels
    )
    feature["image/detection/score"].float_list.value.extend(row["score"] for row in found.rows)
    return example.SerializeToString(deterministic=True)
