"""Batches to measure the loss on: images as in evaluation, objects as in training.

Shapes: B examples, M objects of a record, N objects of a sequence, L = 5 N tokens.
"""

import os
from typing import Any

import tensorflow as tf

from pix2seq_model.boxes import box_yxyx_is_valid
from pix2seq_model.data.manifest import check_shards, read_dataset_info
from pix2seq_model.data.records import parse_example
from pix2seq_model.input_pipeline.datasets import dataset_options, independent_seeds
from pix2seq_model.input_pipeline.preprocessing import preprocess_for_evaluation
from pix2seq_model.input_pipeline.record_stream import num_processors
from pix2seq_model.tokens.object_order import order_objects
from pix2seq_model.tokens.sequences import num_draws, training_sequences
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary


def validation_dataset(
    examples_dir: str | os.PathLike[str],
    *,
    split: str,
    vocabulary: Vocabulary,
    image_size: tuple[int, int],
    batch_size: int,
    num_images: int,
    seed: int,
    sequence: SequenceSettings,
    resize: str = "antialias",
) -> tf.data.Dataset:
    """The first images of a split, each once and unaugmented, with sequences as in training.

    The order of the objects, the noise objects and the classes of the input are drawn from the seed
    and the number of the image: the same each time, so that losses can be compared.

    Args:
      examples_dir: examples folder.
      split: name of the split.
      vocabulary: tokens.
      image_size: height and width in pixels.
      batch_size: B; what is missing in the last batch is black, its tokens of no weight.
      num_images: how many at most.
      seed: of everything random.
      sequence: how objects become tokens.
      resize: one of `settings.RESIZES`.

    Returns:
      Data set of ({"image": float32 (B, H, W, 3) in [0, 1], "tokens": int32 (B, L) input}, int32
      (B, L) targets, float32 (B, L) weights of the loss).

    Raises:
      DataError: the examples folder cannot be used.
    """
    order_seed, draw_seed = independent_seeds(seed, 5)[3:]

    # There is no Python control flow over tensors in these, and to look for some takes seconds.
    @tf.autograph.experimental.do_not_convert
    def prepare_example(index: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example = parse_example(serialized)
        pixels = tf.io.decode_image(example["image_encoded"], channels=3, expand_animations=False)
        pixels = tf.ensure_shape(pixels, [None, None, 3])
        image, content_size = preprocess_for_evaluation(pixels, image_size, resize=resize)
        return {
            "image": image,
            "content_fraction": tf.cast(content_size, tf.float32)
            / tf.constant(image_size, tf.float32),
            "boxes": example["boxes"],
            "labels": tf.cast(example["labels"], tf.int32),
            "is_crowd": example["is_crowd"],
            "order_draws": tf.random.stateless_uniform(
                tf.shape(example["labels"]), seed=tf.stack([order_seed, index])
            ),
            "sequence_draws": tf.random.stateless_uniform(
                [num_draws(sequence)], seed=tf.stack([draw_seed, index])
            ),
        }

    @tf.autograph.experimental.do_not_convert
    def build_batch(batch: dict[str, tf.Tensor]) -> Any:
        is_kept_BM = box_yxyx_is_valid(batch["boxes"], xp=tf) & ~batch["is_crowd"]
        boxes_BN4, labels_BN = order_objects(
            batch["boxes"],
            batch["labels"],
            is_kept_BM=is_kept_BM,
            random_BM=batch["order_draws"],
            order=sequence.order,
            max_objects=sequence.max_objects,
        )
        tokens_BL, target_BL, weights_BL = training_sequences(
            boxes_BN4,
            labels_BN,
            content_fraction_B2=batch["content_fraction"],
            draws_BD=batch["sequence_draws"],
            vocabulary=vocabulary,
            settings=sequence,
        )
        # All batches of one shape: another one is compiled again.
        missing = batch_size - tf.shape(tokens_BL)[0]

        def filled(rows: tf.Tensor) -> tf.Tensor:
            paddings = tf.concat([[[0, missing]], tf.zeros([rows.shape.rank - 1, 2], tf.int32)], 0)
            return tf.ensure_shape(tf.pad(rows, paddings), [batch_size, *rows.shape[1:]])

        inputs = {"image": filled(batch["image"]), "tokens": filled(tokens_BL)}
        return inputs, filled(target_BL), filled(weights_BL)

    info = read_dataset_info(examples_dir)
    check_shards(examples_dir, info, splits=[split])
    records = tf.data.TFRecordDataset(info.shard_paths(examples_dir, split)).take(num_images)
    dataset = records.enumerate().map(prepare_example, num_parallel_calls=num_processors())
    return dataset.padded_batch(batch_size).map(build_batch).with_options(dataset_options())
