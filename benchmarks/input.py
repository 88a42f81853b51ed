"""Images per second of the training input, on real photographs.

    python benchmarks/input.py --coco=../shared/coco_sample --images=1000

Repeats the photographs of a folder in COCO's layout under new ids into records in a temporary
folder and reads batches of them: the published augmentation, random order, noise objects and
corrupted classes, 100 objects. In turns, in the same run:

    uint8     the training input, images as bytes
    float32   the same, images as floats
    before    as it was until November 2026, see `input_before`
    plain     whole images are decoded, resized as floats, cropped, flipped, padded; no sequences
    resizing  records are read and parsed, the pixels of a crop decoded and resized to bytes, and
              nothing else
    decoding  the same without resizing: what no input of these records can be faster than

Leave the machine alone meanwhile; every processor core is used.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.input_before import training_dataset_before
from pix2seq_model.data import manifest as dataset_info
from pix2seq_model.data import records, tfrecord
from pix2seq_model.data.shard_check import Digests
from pix2seq_model.input_pipeline.augmentation import (
    NUM_DRAWS,
    PADDING_GREY,
    choose_window,
    decode_window,
    resize_window,
)
from pix2seq_model.input_pipeline.datasets import training_dataset
from pix2seq_model.input_pipeline.record_stream import num_processors
from pix2seq_model.input_pipeline.settings import IMAGE_DTYPES, Augmentation
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures.records import write_dataset_info

_NUM_SHARDS = 8
_ROUNDS = 3
_SHUFFLE_BUFFER = 256


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coco", type=Path, default=Path("../shared/coco_sample"))
    parser.add_argument("--split", default="train2017")
    parser.add_argument("--images", type=int, default=1000, help="records to write")
    parser.add_argument("--image_size", type=int, default=640, help="pixels")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=20, help="timed in each of three rounds")
    given = parser.parse_args(arguments)
    image_size = (given.image_size, given.image_size)
    with tempfile.TemporaryDirectory() as folder:
        num_bytes = write_records(Path(folder), given.coco, given.split, given.images)
        print(f"{given.images:,} images, {num_bytes / 1e6:,.0f} MB of records", flush=True)
        ways = datasets_of(Path(folder), image_size=image_size, batch_size=given.batch_size)
        rates = {name: [] for name in ways}
        cpu_ms = {name: [] for name in ways}
        # In turns, so that a busy moment of the machine does not fall on one of them alone.
        for _, name in itertools.product(range(_ROUNDS), ways):
            wall, cpu = seconds_per_image(ways[name], given.batch_size, given.batches)
            rates[name].append(1 / wall)
            cpu_ms[name].append(1000 * cpu)
            print(
                f"{name:<8} {1 / wall:7.0f} images/s {1000 * cpu:7.2f} ms of CPU each", flush=True
            )
    best = {name: max(values) for name, values in rates.items()}
    report = {
        "image_size": given.image_size,
        "batch_size": given.batch_size,
        "cpus": os.cpu_count(),
        "images_per_s": {name: round(value, 1) for name, value in best.items()},
        "cpu_ms_per_image": {name: round(min(values), 2) for name, values in cpu_ms.items()},
        "uint8_to": {
            name: round(best["uint8"] / value, 2) for name, value in best.items() if name != "uint8"
        },
    }
    print(json.dumps(report))
    return 0


def datasets_of(
    folder: Path, *, image_size: tuple[int, int], batch_size: int
) -> dict[str, tf.data.Dataset]:
    """The ways to compare; see the top."""
    sizes: dict[str, Any] = {"image_size": image_size, "batch_size": batch_size}
    vocabulary = Vocabulary()
    ways = {
        image_dtype: training_dataset(
            folder,
            split="train",
            vocabulary=vocabulary,
            seed=0,
            augmentation=Augmentation(),
            sequence=SequenceSettings(),
            image_dtype=image_dtype,
            shuffle_buffer=_SHUFFLE_BUFFER,
            **sizes,
        )
        for image_dtype in IMAGE_DTYPES
    }
    ways["before"] = training_dataset_before(
        folder, vocabulary=vocabulary, shuffle_buffer=_SHUFFLE_BUFFER, **sizes
    )
    ways["plain"] = plain_dataset(folder, image_size, batch_size)
    for name in ("resizing", "decoding"):
        ways[name] = pixels_dataset(folder, image_size, batch_size, resize=name == "resizing")
    return ways


def pixels_dataset(
    folder: Path, image_size: tuple[int, int], batch_size: int, *, resize: bool
) -> tf.data.Dataset:
    """A number of each crop of the training input, whose pixels are thrown away."""
    settings = Augmentation()

    def decode(index: tf.Tensor, serialized: tf.Tensor) -> tf.Tensor:
        example = records.parse_example(serialized)
        size = tf.cast(tf.stack([example["height"], example["width"]]), tf.int32)
        draws = tf.random.stateless_uniform([NUM_DRAWS], seed=tf.stack([0, index]))
        window = choose_window(size, draws, image_size=image_size, augmentation=settings)
        pixels = decode_window(
            example["image_encoded"], window, is_jpeg=example["image_format"] == "jpeg"
        )
        if resize:
            pixels = resize_window(pixels, window, augmentation=settings, dtype=tf.uint8)
        return tf.cast(pixels[0, 0, 0], tf.int32)  # Of its size alone nothing need be computed.

    paths = dataset_info.read_dataset_info(folder).shard_paths(folder, "train")
    dataset = tf.data.TFRecordDataset(paths).shuffle(_SHUFFLE_BUFFER).repeat().enumerate()
    dataset = dataset.map(decode, num_parallel_calls=num_processors())
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def seconds_per_image(
    dataset: tf.data.Dataset, batch_size: int, num_batches: int
) -> tuple[float, float]:
    """Wall and CPU time after three batches, in which buffers fill and threads settle."""
    batches = iter(dataset)
    for _ in range(3):
        next(batches)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(num_batches):
        next(batches)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / (num_batches * batch_size), cpu / (num_batches * batch_size)


def plain_dataset(folder: Path, image_size: tuple[int, int], batch_size: int) -> tf.data.Dataset:
    """The same augmentation of the image in the published order, without sequences."""
    settings = Augmentation()

    def augment(serialized: tf.Tensor) -> tf.Tensor:
        example = records.parse_example(serialized)
        image = tf.io.decode_image(example["image_encoded"], channels=3, expand_animations=False)
        image = tf.image.convert_image_dtype(tf.ensure_shape(image, [None, None, 3]), tf.float32)
        target = tf.constant(image_size, tf.float32)
        source = tf.cast(tf.shape(image)[:2], tf.float32)
        scale = tf.random.uniform([], settings.scale_min, settings.scale_max)
        scaled = tf.cast(source * tf.reduce_min(target * scale / source), tf.int32)
        image = tf.image.resize(image, scaled)
        free = tf.maximum(scaled - image_size, 0)
        top, left = tf.unstack(
            tf.cast(tf.random.uniform([2]) * tf.cast(free + 1, tf.float32), tf.int32)
        )
        image = image[top : top + image_size[0], left : left + image_size[1]]
        image = tf.image.random_flip_left_right(image)
        missing = tf.constant(image_size) - tf.shape(image)[:2]
        paddings = [[0, missing[0]], [0, missing[1]], [0, 0]]
        image = tf.pad(image, paddings, constant_values=PADDING_GREY)
        return tf.ensure_shape(image, [*image_size, 3])

    paths = dataset_info.read_dataset_info(folder).shard_paths(folder, "train")
    dataset = tf.data.TFRecordDataset(paths).shuffle(_SHUFFLE_BUFFER).repeat()
    dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def write_records(folder: Path, coco: Path, split: str, num_images: int) -> int:
    """Writes an examples folder with one split, `train`; returns the size of its shards."""
    shards = [bytearray() for _ in range(_NUM_SHARDS)]
    annotations = json.loads((coco / f"annotations/instances_{split}.json").read_text())
    examples = itertools.cycle(_examples(coco / "images" / split, annotations))
    for number in range(num_images):
        example = next(examples)
        shards[number % _NUM_SHARDS] += tfrecord.frame_record(
            records.encode_example(**example, image_id=str(number))
        )
    infos = []
    (folder / "Split-train").mkdir()
    for index, content in enumerate(shards):
        name = f"Split-train/examples-{index:05d}-of-{_NUM_SHARDS:05d}.tfrecord"
        (folder / name).write_bytes(content)
        infos.append(
            dataset_info.ShardInfo(
                file=name,
                num_examples=len(range(index, num_images, _NUM_SHARDS)),
                num_bytes=len(content),
                **_digests(content),
            )
        )
    num_bytes = sum(map(len, shards))
    split_info = dataset_info.SplitInfo(
        num_examples=num_images, num_objects=0, num_bytes=num_bytes, shards=tuple(infos), counts={}
    )
    info = dataset_info.DatasetInfo(
        name="benchmark",
        seed=0,
        categories=tuple({"id": c["id"], "name": c["name"]} for c in annotations["categories"]),
        splits={"train": split_info},
    )
    write_dataset_info(folder, info)
    return num_bytes


def _digests(content: bytes) -> dict[str, str]:
    digests = Digests()
    digests.update(bytes(content))
    return digests.values()


def _examples(images: Path, annotations: dict) -> list[dict]:
    """Arguments of `encode_example`, but for the image id, for every photograph."""
    by_image: dict[int, list[dict]] = {}
    for row in annotations["annotations"]:
        by_image.setdefault(row["image_id"], []).append(row)
    return [
        {
            "image_encoded": (images / image["file_name"]).read_bytes(),
            "image_format": "jpeg",
            "height": image["height"],
            "width": image["width"],
            "filename": image["file_name"],
            "objects": list(_objects(by_image.get(image["id"], []), image)),
        }
        for image in annotations["images"]
    ]


def _objects(rows: list[dict], image: dict) -> Iterator[records.ObjectRecord]:
    for row in rows:
        x, y, width, height = row["bbox"]
        yield records.ObjectRecord(
            box_yxyx=(
                y / image["height"],
                x / image["width"],
                (y + height) / image["height"],
                (x + width) / image["width"],
            ),
            label=row["category_id"],
            text="",
            area=row["area"],
            is_crowd=bool(row["iscrowd"]),
            annotation_id=row["id"],
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
