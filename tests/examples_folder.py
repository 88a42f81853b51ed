"""Writes examples folders for tests, from images drawn or given."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pix2seq_model.data import manifest as dataset_info
from pix2seq_model.data import records, tfrecord

CATEGORIES = ({"id": 1, "name": "one"}, {"id": 3, "name": "three"}, {"id": 7, "name": "seven"})


def smooth_image(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Something like a photograph: smooth colours, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode_image(pixels: np.ndarray, image_format: str = "jpeg") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format.upper(), quality=95)
    return file.getvalue()


def example(
    image_id: str,
    objects: Sequence[tuple[tuple[float, float, float, float], int]] = (),
    *,
    pixels: np.ndarray | None = None,
    image_format: str = "jpeg",
    crowd: Sequence[int] = (),
) -> bytes:
    """One serialized example; objects are (box yxyx in 0..1, label), `crowd` their indices."""
    pixels = smooth_image(48, 64, seed=len(image_id)) if pixels is None else pixels
    height, width = pixels.shape[:2]
    return records.encode_example(
        image_encoded=encode_image(pixels, image_format),
        image_format=image_format,
        height=height,
        width=width,
        filename=f"{image_id}.{image_format}",
        image_id=image_id,
        objects=[
            records.ObjectRecord(
                box_yxyx=box, label=label, text="", area=1.0, is_crowd=number in crowd
            )
            for number, (box, label) in enumerate(objects)
        ],
    )


def write_examples(
    folder: Path, examples: Sequence[bytes], *, split: str = "train", num_shards: int = 2
) -> Path:
    """Writes serialized examples, dealt out to the shards in turn; returns the folder."""
    (folder / f"Split-{split}").mkdir(parents=True)
    shards = []
    for index in range(num_shards):
        part = examples[index::num_shards]
        name = f"Split-{split}/examples-{index:05d}-of-{num_shards:05d}.tfrecord"
        content = b"".join(map(tfrecord.frame_record, part))
        (folder / name).write_bytes(content)
        shards.append(
            dataset_info.ShardInfo(
                file=name,
                num_examples=len(part),
                num_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    split_info = dataset_info.SplitInfo(
        num_examples=len(examples),
        num_objects=0,
        num_bytes=sum(shard.num_bytes for shard in shards),
        shards=tuple(shards),
        counts={},
    )
    dataset_info.write_dataset_info(
        folder,
        dataset_info.DatasetInfo(
            name="test", seed=0, categories=CATEGORIES, splits={split: split_info}
        ),
    )
    return folder
