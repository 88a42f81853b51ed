"""AP of runs that see mosaics of four images, next to the same runs without.

    python benchmarks/mosaic.py --examples=EXAMPLES --output=OUT

The demonstration's fine-tuning from random weights, on its records, with sequences that hold the
objects of a mosaic; each seed twice, at equal steps. A mosaic is made of an image and the three
after it in its batch, around a point drawn in the middle half of the canvas: each is drawn at 0.5
to 1 times its size with a corner at that point, boxes are clipped to their quarter, and those that
keep less than a quarter of their area are left out. This is what was tried before a setting of
`augmentation`; the training input of the project has none.
"""

import argparse
import functools
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tensorflow as tf

from benchmarks.sampled_ap import mean_ap
from configs import demo
from pix2seq_model.boxes import box_yxyx_is_valid
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.input_pipeline import augmentation as augment
from pix2seq_model.input_pipeline import datasets
from pix2seq_model.input_pipeline.settings import PADDING_GREY
from pix2seq_model.tokens.object_order import order_objects
from pix2seq_model.tokens.sequences import training_sequences
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.train import train

_OBJECTS = 12
_KEPT_AREA = 0.25


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=Path, required=True, help="with splits train and val")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5])
    given = parser.parse_args(arguments)
    compiled_steps, build = CompiledSteps(), datasets._build_training_batch
    print("| mosaics | seed | AP | processor seconds |\n|---|---|---|---|", flush=True)
    for seed, share in itertools.product(given.seeds, given.shares):
        mosaic = functools.partial(_build_with_mosaics, share=share)
        datasets._build_training_batch = mosaic if share else build
        run, begin = _run(seed=seed, steps=given.steps), time.process_time()
        folder = given.output / f"{share}-{seed}"
        train(
            run,
            examples_dir=given.examples,
            model_dir=folder / "model",
            work_dir=folder / "work",
            logs_dir=folder / "logs",
            export=False,
            compiled_steps=compiled_steps,
        )
        seconds = time.process_time() - begin
        ap = mean_ap(run, folder / "model", given.examples)
        print(f"| {share:.0%} | {seed} | {ap:.4f} | {seconds:.0f} |", flush=True)
    return 0


def _run(*, seed: int, steps: int) -> TrainingRun:
    config = demo.get_config()
    config.seed = seed
    config.model.max_seq_len = 5 * _OBJECTS + 2
    config.finetune.sequence.max_objects = _OBJECTS
    config.finetune.update(steps=steps, warmup_steps=100, learning_rate=1.5e-3)
    return training_run(config, "finetune")


def _build_with_mosaics(
    batch: dict[str, Any], *, image_size, vocabulary, sequence, is_oriented=False, share: float
):
    """As `datasets._build_training_batch`, for square images, with mosaics in place of some."""
    del is_oriented  # Not in the demonstration.
    boxes_BM4 = augment.boxes_in_window(
        batch["boxes"], batch["window"], source_size_B2=batch["source_size"]
    )
    is_kept_BM = box_yxyx_is_valid(boxes_BM4, xp=tf) & ~batch["is_crowd"]
    side, number = image_size[0], batch["image"].shape[0]
    content_B2 = tf.cast(batch["window"].content_size, tf.float32) / side
    boxes_BM4 = boxes_BM4 * tf.tile(content_B2, [1, 2])[:, tf.newaxis]  # Of the canvas.
    # Those of the sequences, which are without state.
    draws_B7 = batch["order_draws"][:, :1] * tf.constant([1.0, 3, 7, 11, 13, 17, 19])
    draws_B7 = tf.math.floormod(draws_B7 * 101.0, 1.0)
    is_mosaic_B = draws_B7[:, 0] < share
    point_B2 = 0.25 + 0.5 * draws_B7[:, 1:3]
    images, boxes, kept = [], [], []
    for index, (bottom, right) in enumerate(itertools.product((0, 1), (0, 1))):
        scale_B1 = 0.5 + 0.5 * draws_B7[:, 3 + index, tf.newaxis]
        content = scale_B1 * tf.roll(content_B2, -index, 0)
        far = tf.constant([bottom, right], tf.float32)
        origin_B2 = point_B2 - (1.0 - far) * content
        low_B2, high_B2 = point_B2 * far, point_B2 + (1.0 - point_B2) * far
        moved = tf.roll(boxes_BM4, -index, 0) * scale_B1[..., tf.newaxis]
        moved = moved + tf.tile(origin_B2, [1, 2])[:, tf.newaxis]
        low, high = (tf.tile(x, [1, 2])[:, tf.newaxis] for x in (low_B2, high_B2))
        clipped = tf.clip_by_value(moved, low, high)
        area, whole = (tf.reduce_prod(b[..., 2:] - b[..., :2], -1) for b in (clipped, moved))
        boxes.append(clipped)
        kept.append(tf.roll(is_kept_BM, -index, 0) & (area >= _KEPT_AREA * whole))
        source = tf.cast(tf.roll(batch["image"], -index, 0), tf.float32)
        images.append(_placed(source, scale_B1[:, 0], origin_B2 * side, side, number))
    # Which quarter each pixel of the canvas is in.
    pixels = (tf.range(side, dtype=tf.float32) + 0.5) / side
    below = pixels[tf.newaxis] >= point_B2[:, :1]
    beside = pixels[tf.newaxis] >= point_B2[:, 1:]
    upper = tf.where(beside[:, tf.newaxis, :, tf.newaxis], images[1], images[0])
    lower = tf.where(beside[:, tf.newaxis, :, tf.newaxis], images[3], images[2])
    canvas = tf.where(below[:, :, tf.newaxis, tf.newaxis], lower, upper)
    canvas = tf.cast(tf.round(canvas), batch["image"].dtype)

    pad = [[0, 0], [0, 3 * tf.shape(boxes_BM4)[1]]]
    alone = tf.pad(boxes_BM4, [*pad, [0, 0]])
    flag = is_mosaic_B[:, tf.newaxis]
    boxes_BK4 = tf.where(flag[..., tf.newaxis], tf.concat(boxes, 1), alone)
    is_kept_BK = tf.where(flag, tf.concat(kept, 1), tf.pad(is_kept_BM, pad))
    labels = tf.concat([tf.roll(batch["labels"], -i, 0) for i in range(4)], 1)
    random = tf.concat([tf.roll(batch["order_draws"], -i, 0) for i in range(4)], 1)
    boxes_BN4, labels_BN = order_objects(
        boxes_BK4,
        labels,
        is_kept_BM=is_kept_BK,
        random_BM=random,
        order=sequence.order,
        max_objects=sequence.max_objects,
    )
    tokens_BL, target_BL, weights_BL = training_sequences(
        boxes_BN4,
        labels_BN,
        content_fraction_B2=tf.ones([number, 2]),
        draws_BD=batch["sequence_draws"],
        vocabulary=vocabulary,
        settings=sequence,
    )
    image = tf.where(is_mosaic_B[:, tf.newaxis, tf.newaxis, tf.newaxis], canvas, batch["image"])
    return {"image": image, "tokens": tokens_BL}, target_BL, weights_BL


def _placed(images, scale_B, origin_B2, side: int, number: int):
    """Images at a scale, their top left corner at a place of the canvas, pixels; grey around."""
    grey = float(int(PADDING_GREY * 255 + 0.5))
    placed = []
    for image, scale, origin in zip(
        *(tf.unstack(x, num=number) for x in (images, scale_B, origin_B2)), strict=True
    ):
        drawn = tf.raw_ops.ScaleAndTranslate(
            images=image[tf.newaxis] - grey,
            size=[side, side],
            scale=tf.stack([scale, scale]),
            translation=origin,
            kernel_type="triangle",
            antialias=True,
        )
        placed.append(drawn[0] + grey)
    return tf.stack(placed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
