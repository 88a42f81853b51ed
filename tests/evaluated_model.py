"""A tiny untrained model and a tiny data set in records, for tests of evaluation."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pix2seq_model.data.manifest import DatasetInfo, ShardInfo, SplitInfo, write_dataset_info
from pix2seq_model.data.records import ObjectRecord, encode_example
from pix2seq_model.data.tfrecord import frame_record
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.tokens.vocabulary import Vocabulary

CATEGORIES = ({"id": 2, "name": "ring"}, {"id": 3, "name": "cross"})
MAX_OBJECTS = 5


def jpeg(width, height, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def example(image_id, objects, *, width=60, height=40):
    """One record; objects are (box yxyx in 0..1, label, crowd)."""
    return encode_example(
        image_encoded=jpeg(width, height, seed=len(image_id)),
        image_format="jpeg",
        height=height,
        width=width,
        filename=f"{image_id}.jpg",
        image_id=image_id,
        objects=[
            ObjectRecord(
                box_yxyx=box,
                label=label,
                text=str(label),
                area=(box[2] - box[0]) * height * (box[3] - box[1]) * width,
                is_crowd=crowd,
                annotation_id=number,
            )
            for number, (box, label, crowd) in enumerate(objects)
        ],
    )


EXAMPLES = (
    example("17", [((0.1, 0.1, 0.5, 0.5), 2, False), ((0.5, 0.5, 0.9, 0.9), 3, False)]),
    example("5", []),
    example("203", [((0.0, 0.0, 1.0, 1.0), 3, True)], width=32, height=64),
    example("8", [((0.2, 0.3, 0.4, 0.6), 2, False)]),
    example("9", [((0.25, 0.25, 0.75, 0.75), 3, False)], width=100, height=100),
)


def write_examples(folder: Path, examples=EXAMPLES, *, categories=CATEGORIES, split="val"):
    """An examples folder of two shards; returns it."""
    shards = []
    parts = (examples[: len(examples) // 2], examples[len(examples) // 2 :])
    for index, part in enumerate(parts):
        name = f"Split-{split}/examples-{index:05d}-of-00002.tfrecord"
        content = b"".join(frame_record(record) for record in part)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        shards.append(
            ShardInfo(file=name, num_examples=len(part), num_bytes=len(content), sha256=digest)
        )
    counts = {
        "rows_in": len(examples) + 1,
        "written": len(examples),
        "dropped": {"missing_file": 1},
    }
    split_info = SplitInfo(
        num_examples=len(examples),
        num_objects=5,
        num_bytes=sum(shard.num_bytes for shard in shards),
        shards=tuple(shards),
        counts={"images": {**counts, "changed": {}}, "annotations": {}},
    )
    info = DatasetInfo(
        name="tiny", seed=0, categories=tuple(categories), splits={split: split_info}
    )
    write_dataset_info(folder, info)
    return folder


def write_model(folder: Path, *, categories=CATEGORIES, seed=0, finds_objects=False):
    """A model folder with fresh weights; returns it.

    What it says is mostly no object, unless it is made to name boxes of the categories.
    """
    from pix2seq_model.model_folder.folder import ModelInfo, save_model_folder
    from pix2seq_model.network.pix2seq import build_model

    config = ModelConfig(
        image_size=(64, 64),
        num_encoder_layers=1,
        dim_encoder=16,
        mlp_dim_encoder=16,
        num_heads_encoder=2,
        num_decoder_layers=1,
        dim_decoder=16,
        mlp_dim_decoder=16,
        num_heads_decoder=2,
        max_seq_len=5 * MAX_OBJECTS + 1,
    )
    vocabulary = Vocabulary(vocab_size=205, num_bins=100, coord_shift=105)
    info = ModelInfo(
        model=config, vocabulary=vocabulary, categories=tuple(categories), max_objects=MAX_OBJECTS
    )
    network = build_model(config, vocabulary, seed=seed)
    # Fresh weights would find the same class everywhere.
    rng = np.random.default_rng(seed)
    for weight in network.trainable_weights:
        weight.assign(weight.numpy() + rng.normal(0, 0.6, weight.shape))
    if finds_objects:
        bias = np.full(vocabulary.vocab_size, -9.0, np.float32)
        bias[vocabulary.coord_shift :] = 0.0
        bias[[vocabulary.class_token(category["id"]) for category in categories]] = 1.0
        network.decoder.output_bias.assign(bias)
        # What the image and the tokens before say shall not drown this.
        norm = network.decoder.norm
        norm.gamma.assign(0.2 * norm.gamma)
        norm.beta.assign(0 * norm.beta)
    save_model_folder(str(folder), network, info=info)
    history = folder / "history"
    history.mkdir()
    rows = "".join(f'{{"step": {10 * i}, "loss": {5 - i}}}\n' for i in range(4))
    (history / "finetune.jsonl").write_text(rows + '{"step": 40, "lo')
    return folder
