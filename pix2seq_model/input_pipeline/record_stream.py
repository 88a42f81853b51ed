"""The endless, reproducible stream of serialized training examples.

Pass after pass over a split, each in an order of its own: shards in a random order, several read
in turn, then a shuffle buffer. The order of a pass depends on the seed and the number of the pass
alone, so that the stream can be entered at any position.
"""

import os

import numpy as np
import tensorflow as tf

from pix2seq_model.data.manifest import check_shards, read_dataset_info, read_statistics
from pix2seq_model.data.records import has_objects
from pix2seq_model.errors import DataError

_SHARDS_READ_IN_TURN = 16
_RECORDS_OF_A_SHARD_IN_A_ROW = 4
_END_OF_TIME = np.iinfo(np.int64).max


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def training_stream(
    examples_dir: str | os.PathLike[str],
    *,
    split: str,
    seed: int,
    shuffle_buffer: int,
    start_position: int = 0,
    drop_empty: bool = False,
) -> tf.data.Dataset:
    """Endless examples of a split, entered at a position.

    Args:
      examples_dir: examples folder.
      split: name of the split.
      seed: of the order, an int64.
      shuffle_buffer: examples held in memory, still encoded.
      start_position: number of examples to leave out. Whole passes are left out by arithmetic,
        the rest of a pass is read and thrown away.
      drop_empty: leave out images without any object; those with crowds alone stay.

    Returns:
      Data set of (position int64, serialized string), position counting from `start_position`.

    Raises:
      DataError: the folder, the split or a shard is missing, the split is empty, or nobody counted
        the images to leave out.
    """
    info = read_dataset_info(examples_dir)
    num_examples = info.split(split).num_examples
    if drop_empty:
        num_examples -= _num_empty(examples_dir, split)
    if not num_examples:
        raise DataError(f"{examples_dir}: split {split!r} is empty; there is nothing to train on.")
    check_shards(examples_dir, info, splits=[split])
    paths = tf.constant(info.shard_paths(examples_dir, split))
    cycle_length = min(_SHARDS_READ_IN_TURN, len(paths))
    start_pass, skipped = divmod(start_position, num_examples)

    # As in datasets.py, there is no Python control flow over tensors to look for.
    @tf.autograph.experimental.do_not_convert
    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        # tf.data mixes the global seed, if one is set, into every shuffle's: fixed here, where it
        # is local to this function's graph, the order depends on our seed alone.
        tf.random.set_seed(1)
        pass_seed = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0]), number)
        shards = tf.data.Dataset.from_tensor_slices(
            tf.random.experimental.stateless_shuffle(paths, seed=pass_seed)
        )
        records = shards.interleave(
            tf.data.TFRecordDataset,
            cycle_length=cycle_length,
            block_length=_RECORDS_OF_A_SHARD_IN_A_ROW,
            num_parallel_calls=min(cycle_length, num_processors()),
            deterministic=True,
        )
        if drop_empty:
            records = records.filter(has_objects)
        records = records.shuffle(
            min(shuffle_buffer, num_examples),
            seed=pass_seed[0],
            reshuffle_each_iteration=False,
        )
        return records.skip(tf.where(number == start_pass, tf.cast(skipped, tf.int64), 0))

    records = tf.data.Dataset.range(start_pass, _END_OF_TIME).flat_map(one_pass)
    return records.enumerate(start_position)


def _num_empty(examples_dir: str | os.PathLike[str], split: str) -> int:
    """How many images of a split have no object: counted when they were converted."""
    count = read_statistics(examples_dir).get(split, {}).get("empty")
    if count is None:
        raise DataError(
            f"{examples_dir}: drop_empty_images=True needs the number of images without objects, "
            "which an earlier version did not count: convert the data set again."
        )
    return count
