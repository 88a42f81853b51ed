"""Records to batches: the training input and the evaluation input, as tf.data sets.

Training, for each example: parse, choose a crop, decode and resize its pixels; and for each
batch: pad the images, boxes to the crop, order, noise objects, tokens. Several examples and
several batches are made at once. Every random number is drawn without state from (seed, position
of the example in the stream): batches do not depend on threads, nor on what was read before.
Shapes: B examples, M objects of a record, N objects of a sequence, L = 5 N tokens.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pix2seq_model.boxes import box_yxyx_is_valid
from pix2seq_model.data.manifest import check_shards, read_dataset_info
from pix2seq_model.data.records import parse_example
from pix2seq_model.errors import ConfigError
from pix2seq_model.input_pipeline import appearance, orientation
from pix2seq_model.input_pipeline import augmentation as augment
from pix2seq_model.input_pipeline.preprocessing import preprocess_image
from pix2seq_model.input_pipeline.record_stream import num_processors, training_stream
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.tokens.object_order import order_objects
from pix2seq_model.tokens.sequences import num_draws, training_sequences
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary

# Batches that are made while another is trained on: at full size each takes hundreds of megabytes.
_BATCHES_AHEAD = 2


def training_dataset(
    examples_dir: str | os.PathLike[str],
    *,
    split: str,
    vocabulary: Vocabulary,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    sequence: SequenceSettings,
    image_dtype: str = "float32",
    start_step: int = 0,
    shuffle_buffer: int = 2048,
    drop_empty: bool = False,
    repeat_threshold: float = 0.0,
    num_hosts: int = 1,
    host_index: int = 0,
    num_parallel_calls: int | None = None,
    damaged: Sequence[str] = (),
) -> tf.data.Dataset:
    """Endless training batches.

    Args:
      examples_dir: examples folder.
      split: name of the split.
      vocabulary: tokens.
      image_size: height and width in pixels.
      batch_size: examples of a batch over all hosts.
      seed: of everything random: the same seed gives the same batches, bit for bit.
      augmentation: of the images.
      sequence: how objects become tokens.
      image_dtype: one of `settings.IMAGE_DTYPES`.
      start_step: the first batch returned is the one that an undisturbed run would see at this
        step, counted from 0.
      shuffle_buffer: examples, encoded.
      drop_empty: leave out images without any object; those with crowds alone stay.
      repeat_threshold: of class-balanced sampling, see `class_balance`; 0 is off.
      num_hosts: hosts that share each batch; the batch is the same whatever their number. Each
        reads the shards of its own share, see `training_stream`.
      host_index: which share of each batch to return, from 0.
      num_parallel_calls: examples prepared at once, as many as there are processors if None; no
        influence on the batches.
      damaged: ids of images that cannot be decoded: black, and their tokens of no weight.

    Returns:
      Data set of ({"image": (b, H, W, 3), float32 in [0, 1] or uint8 in 0..255, "tokens": int32
      (b, L) input}, int32 (b, L) targets, float32 (b, L) weights of the loss), b = batch_size /
      num_hosts.

    Raises:
      DataError: the examples folder cannot be used.
      ConfigError: categories without a token, or a batch size that hosts cannot share.
    """
    if batch_size % num_hosts or not 0 <= host_index < num_hosts:
        raise ConfigError(
            f"batch_size={batch_size} cannot be shared by num_hosts={num_hosts} "
            f"(host_index={host_index}): use a multiple of the number of hosts."
        )
    info = read_dataset_info(examples_dir)
    vocabulary.check_categories(info.category_names(), source=os.fspath(examples_dir))
    stream_seed, *seeds = independent_seeds(seed, 4)

    dataset = training_stream(
        examples_dir,
        split=split,
        seed=stream_seed,
        batch_size=batch_size,
        shuffle_buffer=shuffle_buffer,
        first_batch=start_step,
        drop_empty=drop_empty,
        repeat_threshold=repeat_threshold,
        num_hosts=num_hosts,
        host_index=host_index,
    )
    prepare_example = functools.partial(
        _prepare_training_example,
        seeds=seeds,
        image_size=image_size,
        augmentation=augmentation,
        sequence=sequence,
        image_dtype=image_dtype,
        damaged=damaged,
    )
    num_parallel_calls = num_parallel_calls or num_processors()
    dataset = dataset.map(prepare_example, num_parallel_calls=num_parallel_calls)

    @tf.autograph.experimental.do_not_convert  # As below.
    def build_batch(examples: Any) -> Any:
        batch = _padded_batch(examples, batch_size // num_hosts, image_size=image_size)
        return _build_training_batch(
            batch,
            image_size=image_size,
            vocabulary=vocabulary,
            sequence=sequence,
            is_oriented=augmentation.turn or augmentation.flip_vertical,
        )

    # One thread fills a batch with its images: several batches are filled at once.
    dataset = dataset.window(batch_size // num_hosts, drop_remainder=True)
    dataset = dataset.map(build_batch, num_parallel_calls=_BATCHES_AHEAD)
    return dataset.prefetch(_BATCHES_AHEAD).with_options(dataset_options())


def training_records(
    examples_dir: str | os.PathLike[str],
    *,
    split: str,
    batch_size: int,
    seed: int,
    shuffle_buffer: int,
    step: int,
    drop_empty: bool = False,
    repeat_threshold: float = 0.0,
) -> list[bytes]:
    """The records of the batch that `training_dataset`, with the same arguments, has at a step."""
    stream = training_stream(
        examples_dir,
        split=split,
        seed=independent_seeds(seed, 3)[0],
        batch_size=batch_size,
        shuffle_buffer=shuffle_buffer,
        first_batch=step,
        drop_empty=drop_empty,
        repeat_threshold=repeat_threshold,
    )
    return [serialized.numpy() for _, serialized in stream.take(batch_size)]


def training_image_ids(examples_dir: str | os.PathLike[str], **arguments: Any) -> list[str]:
    """Ids of the images of `training_records`."""
    records = training_records(examples_dir, **arguments)
    return [parse_example(record)["image_id"].numpy().decode() for record in records]


def evaluation_dataset(
    examples_dir: str | os.PathLike[str],
    *,
    split: str,
    image_size: tuple[int, int],
    batch_size: int,
    resize: str = "antialias",
    start: int = 0,
) -> tf.data.Dataset:
    """Every image of a split once, in the order of the records; the last batch may be smaller.

    Args:
      examples_dir: examples folder.
      split: name of the split.
      image_size: height and width in pixels.
      batch_size: B.
      resize: one of `settings.RESIZES`.
      start: number of images to leave out at the beginning, without decoding them.

    Returns:
      Data set of dicts: `image` float32 (B, H, W, 3) in [0, 1]; `image_id` string (B,);
      `source_size` int32 (B, 2), height and width of the original in pixels; `content_size`
      int32 (B, 2), height and width in pixels that it takes in the padded image; `image_key` int64
      (B,), see `preprocessing.image_key`.

    Raises:
      DataError: the examples folder cannot be used.
    """

    @tf.autograph.experimental.do_not_convert  # As below.
    def prepare_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example = parse_example(serialized)
        prepared = preprocess_image(example["image_encoded"], image_size, resize=resize)
        return {**prepared, "image_id": example["image_id"]}

    info = read_dataset_info(examples_dir)
    check_shards(examples_dir, info, splits=[split])
    dataset = tf.data.TFRecordDataset(info.shard_paths(examples_dir, split)).skip(start)
    dataset = dataset.map(prepare_example, num_parallel_calls=num_processors()).batch(batch_size)
    return dataset.prefetch(_BATCHES_AHEAD).with_options(dataset_options())


# There is no Python control flow over tensors in it, and to look for some takes seconds.
@tf.autograph.experimental.do_not_convert
def _prepare_training_example(
    position: tf.Tensor,
    serialized: tf.Tensor,
    *,
    seeds: Sequence[int],
    image_size: tuple[int, int],
    augmentation: Augmentation,
    sequence: SequenceSettings,
    image_dtype: str,
    damaged: Sequence[str],
) -> dict[str, Any]:
    """What is done to one example before it joins a batch: all of its pixels' work."""
    image_seed, object_seed, extra_seed = seeds
    example = parse_example(serialized)
    draws = tf.random.stateless_uniform(
        [augment.NUM_DRAWS + num_draws(sequence)], seed=tf.stack([image_seed, position])
    )
    source_size = tf.cast(tf.stack([example["height"], example["width"]]), tf.int32)
    # Of a seed of their own: what is off by default changes nothing that was drawn before.
    extra_draws = tf.random.stateless_uniform(
        [orientation.NUM_DRAWS + appearance.NUM_DRAWS], seed=tf.stack([extra_seed, position])
    )
    turn_draws, look_draws = tf.split(extra_draws, [orientation.NUM_DRAWS, appearance.NUM_DRAWS])
    chosen = orientation.choose_orientation(turn_draws, augmentation=augmentation)
    window_draws, sequence_draws = draws[: augment.NUM_DRAWS], draws[augment.NUM_DRAWS :]
    window = augment.choose_window(
        source_size,
        window_draws,
        # So that it fits once it is turned.
        image_size=orientation.turned_size(tf.constant(image_size), chosen),
        augmentation=augmentation,
    )
    decode = functools.partial(
        augment.decode_window,
        example["image_encoded"],
        window,
        is_jpeg=example["image_format"] == "jpeg",
    )
    weight = {}
    if damaged:
        is_damaged = tf.reduce_any(example["image_id"] == tf.constant(damaged))
        black = tf.zeros(tf.concat([window.size, [3]], 0), tf.uint8)
        pixels = tf.cond(is_damaged, lambda: black, decode)
        weight = {"weight": tf.where(is_damaged, 0.0, 1.0)}
    else:
        pixels = decode()
    image = augment.resize_window(
        pixels, window, augmentation=augmentation, dtype=tf.as_dtype(image_dtype)
    )
    if augmentation.turn or augmentation.flip_vertical:
        image = orientation.orient_image(image, chosen)
    if appearance.changes_appearance(augmentation):
        image = appearance.change_appearance(image, look_draws, augmentation=augmentation)
    return weight | {
        "image": image,
        "window": window,
        "orientation": chosen,
        "source_size": source_size,
        "boxes": example["boxes"],
        "labels": tf.cast(example["labels"], tf.int32),
        "is_crowd": example["is_crowd"],
        "order_draws": tf.random.stateless_uniform(
            tf.shape(example["labels"]), seed=tf.stack([object_seed, position])
        ),
        "sequence_draws": sequence_draws,
    }


def _padded_batch(examples: Any, batch_size: int, *, image_size: tuple[int, int]) -> Any:
    """A batch; images are padded to `image_size` with grey, objects to the most of the batch.

    Args:
      examples: what `_prepare_training_example` returns, each part a data set of `batch_size`.
      batch_size: how many there are.
      image_size: height and width in pixels.
    """
    dataset = tf.data.Dataset.zip(examples)
    spec = dataset.element_spec
    shapes = tf.nest.map_structure(lambda s: s.shape, spec)
    zeros = tf.nest.map_structure(lambda s: tf.zeros([], s.dtype), spec)
    grey = augment.padding_grey(spec["image"].dtype)
    return dataset.padded_batch(
        batch_size,
        padded_shapes=shapes | {"image": [*image_size, 3]},
        padding_values=zeros | {"image": grey},
        drop_remainder=True,
    ).get_single_element()


@tf.autograph.experimental.do_not_convert
def _build_training_batch(
    batch: dict[str, Any],
    *,
    image_size: tuple[int, int],
    vocabulary: Vocabulary,
    sequence: SequenceSettings,
    is_oriented: bool = False,
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Boxes to tokens, for the whole batch at once."""
    boxes_BM4 = augment.boxes_in_window(
        batch["boxes"], batch["window"], source_size_B2=batch["source_size"]
    )
    content_size_B2 = batch["window"].content_size
    if is_oriented:
        boxes_BM4 = orientation.orient_boxes(boxes_BM4, batch["orientation"])
        content_size_B2 = orientation.turned_size(content_size_B2, batch["orientation"])
    # The padding of the batch has boxes of zero size, as have objects outside the crop.
    is_kept_BM = box_yxyx_is_valid(boxes_BM4, xp=tf) & ~batch["is_crowd"]
    boxes_BN4, labels_BN = order_objects(
        boxes_BM4,
        batch["labels"],
        is_kept_BM=is_kept_BM,
        random_BM=batch["order_draws"],
        order=sequence.order,
        max_objects=sequence.max_objects,
    )
    content_size_B2 = tf.cast(content_size_B2, tf.float32)
    tokens_BL, target_BL, weights_BL = training_sequences(
        boxes_BN4,
        labels_BN,
        content_fraction_B2=content_size_B2 / tf.constant(image_size, tf.float32),
        draws_BD=batch["sequence_draws"],
        vocabulary=vocabulary,
        settings=sequence,
    )
    if "weight" in batch:
        weights_BL *= batch["weight"][:, tf.newaxis]
    return {"image": batch["image"], "tokens": tokens_BL}, target_BL, weights_BL


def independent_seeds(seed: int, number: int) -> list[int]:
    """Seeds for `stateless_uniform` that follow from one; the first are the same for any number."""
    words = np.random.SeedSequence(seed).generate_state(number, np.uint64)
    return [int(word >> np.uint64(1)) for word in words]


def dataset_options() -> tf.data.Options:
    """Deterministic, without autotuning, not shared out by file."""
    options = tf.data.Options()
    options.deterministic = True
    # The thread that tunes sleeps for up to a minute at a time, and now and then taking an iterator
    # down waits for it (TensorFlow 2.21): a stage would end with the machine idle.
    options.autotune.enabled = False
    # Hosts share batches by position; a strategy must not share them out by file once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
