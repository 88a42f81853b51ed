"""The plain way to convert a data set, to compare with: one process pool and TensorFlow.

    python benchmarks/plain_converter.py --images=DIR --annotations=FILE --output=DIR

Loads the whole JSON, and each process of the pool reads images, builds `tf.train.Example`s and
writes shards with TensorFlow's writer. It checks nothing and cannot continue after a kill. The
examples are those of `pipelines/convert_dataset.py`, byte for byte, except their order.
"""

import argparse
import collections
import hashlib
import json
import multiprocessing
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from pix2seq_model.data.annotations import parse_annotation_row
from pix2seq_model.data.label_rules import apply_label_rules


def build_example(image: dict, annotations: list[dict], names: dict[int, str], folder: str):
    """Returns a `tf.train.Example` with the features of `pix2seq_model.data.records`."""
    with open(os.path.join(folder, image["file_name"]), "rb") as file:
        encoded = file.read()
    objects, _ = apply_label_rules(
        [parse_annotation_row(row, position) for position, row in enumerate(annotations)],
        image_id=str(image["id"]),
        height=image["height"],
        width=image["width"],
        categories={str(number): (number, name) for number, name in names.items()},
        seed=0,
    )

    def of_bytes(values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def of_ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def of_floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "image/encoded": of_bytes([encoded]),
        "image/format": of_bytes([b"jpeg"]),
        "image/height": of_ints([image["height"]]),
        "image/width": of_ints([image["width"]]),
        "image/filename": of_bytes([image["file_name"].encode()]),
        "image/source_id": of_bytes([str(image["id"]).encode()]),
        "image/key/sha256": of_bytes([hashlib.sha256(encoded).hexdigest().encode()]),
        "image/object/class/label": of_ints([o.label for o in objects]),
        "image/object/class/text": of_bytes([o.text.encode() for o in objects]),
        "image/object/area": of_floats([o.area for o in objects]),
        "image/object/is_crowd": of_ints([o.is_crowd for o in objects]),
        "image/object/id": of_ints([o.annotation_id for o in objects]),
        "image/object/is_fake": of_ints([o.is_fake for o in objects]),
        "image/object/is_reflected": of_ints([o.is_reflected for o in objects]),
    }
    for axis, edge in enumerate(("ymin", "xmin", "ymax", "xmax")):
        values = [o.box_yxyx[axis] for o in objects]
        features[f"image/object/bbox/{edge}"] = of_floats(values)
    return tf.train.Example(features=tf.train.Features(feature=features))


def write_shard(task) -> int:
    path, images, names, folder = task
    with tf.io.TFRecordWriter(path) as writer:
        for image, annotations in images:
            example = build_example(image, annotations, names, folder)
            writer.write(example.SerializeToString(deterministic=True))
    return len(images)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--num_shards", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    with open(given.annotations) as file:
        content = json.load(file)
    by_image = collections.defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    rows = [(image, by_image[image["id"]]) for image in content["images"]]
    names = {category["id"]: category["name"] for category in content["categories"]}
    os.makedirs(given.output, exist_ok=True)
    tasks = [
        (f"{given.output}/{n:05d}.tfrecord", rows[n :: given.num_shards], names, given.images)
        for n in range(given.num_shards)
    ]
    with multiprocessing.Pool(given.processes) as pool:
        print(sum(pool.imap_unordered(write_shard, tasks)), "examples")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
