"""The TFRecord schema: the one place that knows what an example on disk looks like.

Feature names are those of the TF Object Detection API, so that other tools read the records:

| feature | type | meaning |
|---|---|---|
| image/encoded | bytes | the JPEG or PNG file |
| image/format | bytes | `jpeg` or `png`, the true format |
| image/height, image/width | int64 | pixels |
| image/filename | bytes | `file_name` of the annotation file |
| image/source_id | bytes | the annotation file's image id, as text |
| image/key/sha256 | bytes | hexadecimal digest of image/encoded |
| image/object/bbox/{ymin,xmin,ymax,xmax} | float | 0 to 1 |
| image/object/class/label | int64 | category id, as in `dataset_info.json` |
| image/object/class/text | bytes | category name |
| image/object/area | float | pixels, the annotation's own where it has one |
| image/object/is_crowd, is_fake, is_reflected | int64 | 0 or 1 |
| image/object/id | int64 | annotation id |

Objects are stored in a random order that follows from the data set's seed and the image's id.
Only `parse_example` needs TensorFlow, and imports it when called: Beam's workers write records
without it.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pix2seq_model.data.example_proto import Example

SCHEMA_VERSION = 1
IMAGE_FORMATS = ("jpeg", "png")

BOX_EDGES = ("ymin", "xmin", "ymax", "xmax")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRecord:
    """One object of an image.

    Attributes:
      box_yxyx: ymin, xmin, ymax, xmax, each 0 to 1.
      label: Category id.
      text: Category name.
      area: In pixels; the segmentation's area where the annotation gives one.
      is_crowd: The box covers a group; neither trained on nor counted as a miss.
      annotation_id: The annotation's own id.
      is_fake: Objects365: a picture or drawing of the object.
      is_reflected: Objects365: seen in a mirror.
    """

    box_yxyx: tuple[float, float, float, float]
    label: int
    text: str
    area: float
    is_crowd: bool = False
    annotation_id: int = 0
    is_fake: bool = False
    is_reflected: bool = False


def encode_example(
    *,
    image_encoded: bytes,
    image_format: str,
    height: int,
    width: int,
    filename: str,
    image_id: str,
    objects: Sequence[ObjectRecord],
) -> bytes:
    """Returns one serialized `tf.train.Example`; the same arguments give the same bytes.

    Raises:
      ValueError: `image_format` is not one that readers decode.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f"image_format is {image_format!r}; records hold {IMAGE_FORMATS}")
    example = Example()
    feature = example.features.feature

    def put_bytes(name: str, values: Sequence[bytes]) -> None:
        feature[name].bytes_list.value.extend(values)

    def put_ints(name: str, values: Sequence[int]) -> None:
        feature[name].int64_list.value.extend(values)

    def put_floats(name: str, values: Sequence[float]) -> None:
        feature[name].float_list.value.extend(values)

    put_bytes("image/encoded", [image_encoded])
    put_bytes("image/format", [image_format.encode()])
    put_ints("image/height", [height])
    put_ints("image/width", [width])
    put_bytes("image/filename", [filename.encode()])
    put_bytes("image/source_id", [image_id.encode()])
    put_bytes("image/key/sha256", [hashlib.sha256(image_encoded).hexdigest().encode()])
    for axis, edge in enumerate(BOX_EDGES):
        put_floats(f"image/object/bbox/{edge}", [o.box_yxyx[axis] for o in objects])
    put_ints("image/object/class/label", [o.label for o in objects])
    put_bytes("image/object/class/text", [o.text.encode() for o in objects])
    put_floats("image/object/area", [o.area for o in objects])
    put_ints("image/object/is_crowd", [int(o.is_crowd) for o in objects])
    put_ints("image/object/id", [o.annotation_id for o in objects])
    put_ints("image/object/is_fake", [int(o.is_fake) for o in objects])
    put_ints("image/object/is_reflected", [int(o.is_reflected) for o in objects])
    # Deterministic: a map's entries are otherwise written in the order of its hash table.
    return example.SerializeToString(deterministic=True)


def decode_example(serialized: bytes) -> dict[str, Any]:
    """Reads one example with numpy alone; the keys and meanings are `parse_example`'s.

    Returns:
      `image_encoded` bytes; `image_format`, `image_id`, `filename`, `sha256` str; `height`,
      `width` int; `boxes` float32 (n, 4) yxyx; `labels`, `ids` int64 (n,); `texts` list of n str;
      `area` float32 (n,); `is_crowd`, `is_fake`, `is_reflected` bool (n,).
    """
    feature = Example.FromString(serialized).features.feature

    def text(name: str) -> str:
        return feature[name].bytes_list.value[0].decode()

    def ints(name: str) -> np.ndarray:
        return np.array(feature[f"image/object/{name}"].int64_list.value, np.int64)

    def floats(name: str) -> np.ndarray:
        return np.array(feature[f"image/object/{name}"].float_list.value, np.float32)

    return {
        "image_encoded": feature["image/encoded"].bytes_list.value[0],
        "image_format": text("image/format"),
        "image_id": text("image/source_id"),
        "filename": text("image/filename"),
        "sha256": text("image/key/sha256"),
        "height": feature["image/height"].int64_list.value[0],
        "width": feature["image/width"].int64_list.value[0],
        "boxes": np.stack([floats(f"bbox/{edge}") for edge in BOX_EDGES], axis=-1),
        "labels": ints("class/label"),
        "texts": [t.decode() for t in feature["image/object/class/text"].bytes_list.value],
        "area": floats("area"),
        "ids": ints("id"),
        "is_crowd": ints("is_crowd").astype(bool),
        "is_fake": ints("is_fake").astype(bool),
        "is_reflected": ints("is_reflected").astype(bool),
    }


def parse_example(serialized: Any) -> dict[str, Any]:
    """Parses one serialized example inside a `tf.data` pipeline.

    Args:
      serialized: A scalar string tensor.

    Returns:
      Tensors: `image_encoded`, `image_format`, `image_id`, `filename`, `sha256` scalar strings;
      `height`, `width` scalar int64; `boxes` float32 (n, 4) yxyx, 0 to 1; `labels`, `ids` int64
      (n,); `texts` string (n,); `area` float32 (n,), pixels; `is_crowd`, `is_fake`,
      `is_reflected` bool (n,).
    """
    import tensorflow as tf  # Not at the top: see this module's docstring.

    def one(dtype: tf.DType) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([], dtype)

    def many(dtype: tf.DType) -> tf.io.FixedLenSequenceFeature:
        return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)

    parsed = tf.io.parse_single_example(
        serialized,
        {
            "image/encoded": one(tf.string),
            "image/format": one(tf.string),
            "image/source_id": one(tf.string),
            "image/filename": one(tf.string),
            "image/key/sha256": one(tf.string),
            "image/height": one(tf.int64),
            "image/width": one(tf.int64),
            **{f"image/object/bbox/{edge}": many(tf.float32) for edge in BOX_EDGES},
            "image/object/class/label": many(tf.int64),
            "image/object/class/text": many(tf.string),
            "image/object/area": many(tf.float32),
            "image/object/id": many(tf.int64),
            "image/object/is_crowd": many(tf.int64),
            "image/object/is_fake": many(tf.int64),
            "image/object/is_reflected": many(tf.int64),
        },
    )
    return {
        "image_encoded": parsed["image/encoded"],
        "image_format": parsed["image/format"],
        "image_id": parsed["image/source_id"],
        "filename": parsed["image/filename"],
        "sha256": parsed["image/key/sha256"],
        "height": parsed["image/height"],
        "width": parsed["image/width"],
        "boxes": tf.stack([parsed[f"image/object/bbox/{edge}"] for edge in BOX_EDGES], axis=-1),
        "labels": parsed["image/object/class/label"],
        "texts": parsed["image/object/class/text"],
        "area": parsed["image/object/area"],
        "ids": parsed["image/object/id"],
        "is_crowd": parsed["image/object/is_crowd"] > 0,
        "is_fake": parsed["image/object/is_fake"] > 0,
        "is_reflected": parsed["image/object/is_reflected"] > 0,
    }
