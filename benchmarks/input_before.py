"""The training input as it was until November 2026, to measure today's against.

Every host read all records, 16 shards in turn and then through one shuffle buffer; images travelled
as float32; one thread put batches together; crops were resized as bytes. What else is done to an
example is the same code.
"""

import functools
from pathlib import Path
from unittest import mock

import tensorflow as tf

from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.input_pipeline import datasets
from pix2seq_model.input_pipeline.augmentation import PADDING_GREY, Window
from pix2seq_model.input_pipeline.record_stream import num_processors
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary

_BATCHES_AHEAD = 2


def training_dataset_before(
    folder: Path,
    *,
    vocabulary: Vocabulary,
    image_size: tuple[int, int],
    batch_size: int,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """Batches as `datasets.training_dataset` returns them, images float32; of one host."""
    sequence = SequenceSettings()
    prepare_example = functools.partial(
        datasets._prepare_training_example,
        seeds=[1, 2, 3],
        image_size=image_size,
        augmentation=Augmentation(),
        sequence=sequence,
        image_dtype="float32",
        damaged=(),
    )
    dataset = _stream(folder, shuffle_buffer)
    with mock.patch.object(datasets.augment, "resize_window", _resize_bytes):
        dataset = dataset.map(prepare_example, num_parallel_calls=num_processors())
    dataset = _padded_batch(dataset, batch_size, image_size=image_size)
    build_batch = functools.partial(
        datasets._build_training_batch,
        image_size=image_size,
        vocabulary=vocabulary,
        sequence=sequence,
    )
    dataset = dataset.map(build_batch, num_parallel_calls=_BATCHES_AHEAD)
    return dataset.prefetch(_BATCHES_AHEAD).with_options(datasets.dataset_options())


def _resize_bytes(
    pixels: tf.Tensor, window: Window, *, augmentation: Augmentation, dtype: tf.DType
) -> tf.Tensor:
    """Without `tf.cast` in front."""
    del augmentation, dtype  # Crops lie anywhere, and images are floats.
    pixels = tf.reverse(pixels, tf.ones([tf.cast(window.flip, tf.int32)], tf.int32))
    return tf.image.resize(pixels, window.content_size, method="bilinear") / 255.0


def _stream(folder: Path, shuffle_buffer: int) -> tf.data.Dataset:
    paths = tf.constant(read_dataset_info(folder).shard_paths(folder, "train"))
    cycle_length = min(16, len(paths))

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)
        pass_seed = tf.random.experimental.stateless_fold_in(tf.constant([0, 0], tf.int64), number)
        shards = tf.data.Dataset.from_tensor_slices(
            tf.random.experimental.stateless_shuffle(paths, seed=pass_seed)
        )
        records = shards.interleave(
            tf.data.TFRecordDataset,
            cycle_length=cycle_length,
            block_length=4,
            num_parallel_calls=min(cycle_length, num_processors()),
            deterministic=True,
        )
        return records.shuffle(shuffle_buffer, seed=pass_seed[0], reshuffle_each_iteration=False)

    return tf.data.Dataset.range(1 << 40).flat_map(one_pass).enumerate()


def _padded_batch(
    examples: tf.data.Dataset, batch_size: int, *, image_size: tuple[int, int]
) -> tf.data.Dataset:
    spec = examples.element_spec
    shapes = tf.nest.map_structure(lambda s: s.shape, spec)
    zeros = tf.nest.map_structure(lambda s: tf.zeros([], s.dtype), spec)
    return examples.padded_batch(
        batch_size,
        padded_shapes=shapes | {"image": [*image_size, 3]},
        padding_values=zeros | {"image": tf.constant(PADDING_GREY)},
        drop_remainder=True,
    )
