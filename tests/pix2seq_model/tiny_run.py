"""The smallest training run that has every part: a dozen drawn images and a config to match."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs import base
from pix2seq_model.data import manifest as dataset_info
from pix2seq_model.data import records, tfrecord
from pix2seq_model.experiment.loading import training_run
from pix2seq_model.model_folder.folder import ModelInfo

CATEGORIES = ({"id": 2, "name": "square"}, {"id": 7, "name": "bar"})
NUM_EXAMPLES = 12


def write_examples(folder: Path, *, splits: tuple[str, ...] = ("train",)) -> Path:
    """Coloured rectangles on grey, one or two per image, in two shards; returns the folder."""
    infos = {split: _write_split(folder, split, seed) for seed, split in enumerate(splits)}
    dataset_info.write_dataset_info(
        folder,
        dataset_info.DatasetInfo(name="rectangles", seed=0, categories=CATEGORIES, splits=infos),
    )
    return folder


def _write_split(folder: Path, split: str, seed: int) -> dataset_info.SplitInfo:
    random = np.random.default_rng(seed)
    shards = [b"", b""]
    num_objects = 0
    for index in range(NUM_EXAMPLES):
        encoded, objects = _draw(random)
        num_objects += len(objects)
        shards[index % 2] += tfrecord.frame_record(
            records.encode_example(
                image_encoded=encoded,
                image_format="jpeg",
                height=48,
                width=64,
                filename=f"{index}.jpg",
                image_id=str(100 + index),
                objects=objects,
            )
        )
    (folder / f"Split-{split}").mkdir(parents=True)
    infos = []
    for index, content in enumerate(shards):
        name = f"Split-{split}/examples-{index:05d}-of-00002.tfrecord"
        (folder / name).write_bytes(content)
        infos.append(
            dataset_info.ShardInfo(
                file=name,
                num_examples=NUM_EXAMPLES // 2,
                num_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    return dataset_info.SplitInfo(
        num_examples=NUM_EXAMPLES,
        num_objects=num_objects,
        num_bytes=sum(map(len, shards)),
        shards=tuple(infos),
        counts={},
    )


def _draw(random: np.random.Generator) -> tuple[bytes, list[records.ObjectRecord]]:
    image = np.full((48, 64, 3), 128, np.uint8)
    objects = []
    for _ in range(random.integers(1, 3)):
        top, left = random.integers(0, 24, 2)
        category = CATEGORIES[random.integers(0, 2)]
        height, width = (20, 20) if category["name"] == "square" else (8, 36)
        image[top : top + height, left : left + width] = random.integers(0, 255, 3)
        objects.append(
            records.ObjectRecord(
                box_yxyx=(top / 48, left / 64, (top + height) / 48, (left + width) / 64),
                label=category["id"],
                text=category["name"],
                area=float(height * width),
            )
        )
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue(), objects


def config(**finetune) -> ConfigDict:
    """A config that trains in seconds; keyword arguments are settings of its stages."""
    config = base.get_config()
    config.name = "tiny"
    config.seed = 3
    config.vocabulary.update(coord_shift=120, num_bins=32, vocab_size=160)
    config.model.update(
        backbone="vit",
        patch_size=16,
        num_encoder_layers=1,
        dim_encoder=16,
        mlp_dim_encoder=32,
        num_heads_encoder=2,
        num_decoder_layers=1,
        dim_decoder=16,
        mlp_dim_decoder=32,
        num_heads_decoder=2,
        max_seq_len=16,
    )
    for stage in (config.pretrain, config.finetune):
        stage.image_size = (32, 48)
        stage.batch_size = 4
        stage.steps = 10
        stage.steps_per_log = 4
        stage.checkpoint_every_steps = 3
        stage.learning_rate = 1e-3
        stage.warmup_steps = 2
        stage.shuffle_buffer = 8
        stage.sequence.max_objects = 3
        stage.update(finetune)
    config.evaluation.max_objects = 3
    config.lock()
    return config


def train(root: Path, examples: Path, *, stage: str = "finetune", **settings) -> ModelInfo:
    """A run with its model, work and logs folders below `root`; settings are of the stage."""
    # Here, where the caller has chosen the backend.
    from pix2seq_model.training import train as training

    return training.train(
        training_run(config(**settings), stage),
        examples_dir=examples,
        model_dir=root / "model",
        work_dir=root / "work",
        logs_dir=root / "logs",
    )


def history(root: Path, stage: str = "finetune") -> list[dict[str, Any]]:
    """The rows of the run's log."""
    return [json.loads(row) for row in (root / f"model/history/{stage}.jsonl").open()]
