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
Only `parse_example`, `has_objects` and `class_labels` need TensorFlow, and import it when called:
Beam's workers write records without it.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from pix2seq_model.data.example_proto import Example, encode
from pix2seq_model.errors import DataError

SCHEMA_VERSION = 1
IMAGE_FORMATS = ("jpeg", "png")

BOX_EDGES = ("ymin", "xmin", "ymax", "xmax")
_FLAGS = ("is_crowd", "is_fake", "is_reflected")
# What is read, by its key there: the feature's name, and the kind of its list.
_OF_IMAGE = {
    "image_encoded": ("image/encoded", "bytes"),
    "image_format": ("image/format", "bytes"),
    "image_id": ("image/source_id", "bytes"),
    "filename": ("image/filename", "bytes"),
    "sha256": ("image/key/sha256", "bytes"),
    "height": ("image/height", "int64"),
    "width": ("image/width", "int64"),
}
_OF_OBJECTS = {
    **{edge: (f"image/object/bbox/{edge}", "float") for edge in BOX_EDGES},
    "labels": ("image/object/class/label", "int64"),
    "texts": ("image/object/class/text", "bytes"),
    "area": ("image/object/area", "float"),
    "ids": ("image/object/id", "int64"),
    **{flag: (f"image/object/{flag}", "int64") for flag in _FLAGS},
}
_FEATURES = {**_OF_IMAGE, **_OF_OBJECTS}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRecord:
    """One object of an image.

    Attributes:
      box_yxyx: ymin, xmin, ymax, xmax, each 0 to 1.
      label: category id.
      text: category name.
      area: in pixels; the segmentation's area where the annotation gives one.
      is_crowd: the box covers a group; neither trained on nor counted as a miss.
      annotation_id: the annotation's own id.
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
    values: dict[str, Sequence[Any]] = {
        "image_encoded": [image_encoded],
        "image_format": [image_format.encode()],
        "image_id": [image_id.encode()],
        "filename": [filename.encode()],
        "sha256": [hashlib.sha256(image_encoded).hexdigest().encode()],
        "height": [height],
        "width": [width],
        **{edge: [o.box_yxyx[axis] for o in objects] for axis, edge in enumerate(BOX_EDGES)},
        "labels": [o.label for o in objects],
        "texts": [o.text.encode() for o in objects],
        "area": [o.area for o in objects],
        "ids": [o.annotation_id for o in objects],
        **{flag: [int(getattr(o, flag)) for o in objects] for flag in _FLAGS},
    }
    return encode({name: (kind, values[key]) for key, (name, kind) in _FEATURES.items()})


def decode_example(serialized: bytes) -> dict[str, Any]:
    """Reads one example with numpy alone; the keys and meanings are `parse_example`'s.

    Returns:
      `image_encoded` bytes; `image_format`, `image_id`, `filename`, `sha256` str; `height`,
      `width` int; `boxes` float32 (n, 4) yxyx; `labels`, `ids` int64 (n,); `texts` list of n str;
      `area` float32 (n,); `is_crowd`, `is_fake`, `is_reflected` bool (n,).

    Raises:
      DataError: the bytes are no example of this schema.
    """
    try:
        return _decoded(serialized)
    # Protobuf's own errors, a missing feature, edges of different numbers, names that are no text.
    except (DecodeError, IndexError, ValueError) as error:
        raise DataError(f"no example of this schema ({type(error).__name__}: {error})") from None


def _decoded(serialized: bytes) -> dict[str, Any]:
    feature = Example.FromString(serialized).features.feature

    def values(key: str) -> Any:
        name, kind = _FEATURES[key]
        return getattr(feature[name], f"{kind}_list").value

    return {
        "image_encoded": values("image_encoded")[0],
        **{
            key: values(key)[0].decode()
            for key in ("image_format", "image_id", "filename", "sha256")
        },
        **{key: values(key)[0] for key in ("height", "width")},
        "boxes": np.stack([np.array(values(edge), np.float32) for edge in BOX_EDGES], axis=-1),
        "texts": [text.decode() for text in values("texts")],
        "area": np.array(values("area"), np.float32),
        **{key: np.array(values(key), np.int64) for key in ("labels", "ids")},
        **{flag: np.array(values(flag), np.int64).astype(bool) for flag in _FLAGS},
    }


def labels_of(serialized: bytes) -> Sequence[int]:
    """The labels of one serialized example; raises what protobuf does of bytes that are none."""
    name, kind = _OF_OBJECTS["labels"]
    return getattr(Example.FromString(serialized).features.feature[name], f"{kind}_list").value


def has_objects(serialized: Any) -> Any:
    """Whether one serialized example has any object, crowds included: a scalar bool tensor."""
    import tensorflow as tf

    name, _ = _OF_OBJECTS["labels"]
    labels = tf.io.parse_single_example(serialized, {name: tf.io.VarLenFeature(tf.int64)})[name]
    return tf.size(labels.values) > 0


def class_labels(serialized_B: Any) -> tuple[Any, Any]:
    """The labels of the objects of several serialized examples, crowds left out.

    Returns:
      labels int64 (n,) of all of them; rows int64 (n,), the example that each belongs to.
    """
    import tensorflow as tf

    names = [_OF_OBJECTS[key][0] for key in ("labels", "is_crowd")]
    parsed = tf.io.parse_example(serialized_B, {n: tf.io.RaggedFeature(tf.int64) for n in names})
    labels, is_crowd = (parsed[name] for name in names)
    # Records of other programs may do without the flag.
    has_flags = tf.size(is_crowd.values) == tf.size(labels.values)
    crowd = tf.cond(
        has_flags, lambda: is_crowd.values != 0, lambda: tf.zeros_like(labels.values, tf.bool)
    )
    rows = tf.boolean_mask(labels.value_rowids(), ~crowd)
    return tf.boolean_mask(labels.values, ~crowd), rows


def parse_example(serialized: Any) -> dict[str, Any]:
    """Parses one serialized example inside a `tf.data` pipeline.

    Args:
      serialized: a scalar string tensor.

    Returns:
      Tensors: `image_encoded`, `image_format`, `image_id`, `filename`, `sha256` scalar strings;
      `height`, `width` scalar int64; `boxes` float32 (n, 4) yxyx, 0 to 1; `labels`, `ids` int64
      (n,); `texts` string (n,); `area` float32 (n,), pixels; `is_crowd`, `is_fake`,
      `is_reflected` bool (n,).
    """
    import tensorflow as tf  # Not at the top: see this module's docstring.

    dtypes = {"bytes": tf.string, "float": tf.float32, "int64": tf.int64}
    features: dict[str, Any] = {
        name: tf.io.FixedLenFeature([], dtypes[kind]) for name, kind in _OF_IMAGE.values()
    }
    for name, kind in _OF_OBJECTS.values():
        features[name] = tf.io.FixedLenSequenceFeature([], dtypes[kind], allow_missing=True)
    parsed = tf.io.parse_single_example(serialized, features)
    read = {key: parsed[name] for key, (name, _) in _FEATURES.items()}
    boxes = tf.stack([read.pop(edge) for edge in BOX_EDGES], axis=-1)
    return {**read, "boxes": boxes, **{flag: read[flag] > 0 for flag in _FLAGS}}
