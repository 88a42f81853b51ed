"""The endless, reproducible stream of serialized training examples.

Pass after pass over a split, each in an order of its own: shards in a random order, up to 16 read
in turn, and the records of each shuffled in windows. The order depends on the seed, the batch size
and the shards alone, so that the stream can be entered at any batch, by any number of hosts; which
records lie where is worked out in `read_plan`.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pix2seq_model.data.manifest import (
    DatasetInfo,
    check_shards,
    read_dataset_info,
    read_statistics,
)
from pix2seq_model.data.records import has_objects
from pix2seq_model.data.shard_check import check_counted_labels, check_shard_once
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.input_pipeline.class_balance import choose_records, split_repeat_factors
from pix2seq_model.input_pipeline.read_plan import ReadPlan

# Named in the identity of a run, whose checkpoints go with one order.
RECORD_ORDER = "lanes"
# Images of a window from which a fair choice can be made.
_MIN_BALANCED = 16
_END_OF_TIME = np.iinfo(np.int64).max


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def training_stream(
    examples_dir: str | os.PathLike[str],
    *,
    split: str,
    seed: int,
    batch_size: int,
    shuffle_buffer: int,
    first_batch: int = 0,
    drop_empty: bool = False,
    repeat_threshold: float = 0.0,
    num_hosts: int = 1,
    host_index: int = 0,
) -> tf.data.Dataset:
    """Endless examples of a split, entered at a batch.

    Args:
      examples_dir: examples folder.
      split: name of the split.
      seed: of the order, an int64 of at least 0.
      batch_size: examples of a batch over all hosts.
      shuffle_buffer: examples held in memory over all hosts, still encoded: in each lane of
        `ReadPlan` a window that is served and one that is being read.
      first_batch: number of batches to leave out. Whole passes and whole shards are left out by
        arithmetic; of each open file at most the records before are read and thrown away.
      drop_empty: leave out images without any object; those with crowds alone stay.
      repeat_threshold: share of the images below which a class counts as rare, and its images are
        shown more often, see `class_balance`; 0 shows each once in a pass.
      num_hosts: hosts that share each batch, by blocks of rows; a divisor of `batch_size`. The
        shards of the rows of a host are read by it alone where the number of lanes (a power of
        two, at most 16) can be divided by theirs.
      host_index: whose rows to return, from 0.

    Returns:
      Data set of (position int64, serialized string), in the order of the positions in the whole
      stream, which count from the very first batch and over all hosts.

    Raises:
      DataError: the folder, the split or a shard is missing, the split is empty, or nobody counted
        the images to leave out. A shard that is not the manifest's ends the iteration, see
        `data.damage.reading_errors_named`.
    """
    info = read_dataset_info(examples_dir)
    counts = [shard.num_examples for shard in info.split(split).shards]
    if drop_empty:
        counts = [n - empty for n, empty in zip(counts, _num_empty(examples_dir, split, counts))]
    if not sum(counts):
        raise DataError(f"{examples_dir}: split {split!r} is empty; there is nothing to train on.")
    check_shards(examples_dir, info, splits=[split])
    is_counted = check_counted_labels(examples_dir, info, split)
    plan = ReadPlan(counts=tuple(counts), batch_size=batch_size, seed=seed)
    lane_records = _LaneRecords(
        plan,
        info.shard_paths(examples_dir, split),
        check=_ShardCheck(examples_dir, info, split, is_counted=is_counted),
        first_batch=first_batch,
        shuffle_buffer=shuffle_buffer,
        drop_empty=drop_empty,
        repeat_factors=_repeat_factors(
            examples_dir, split, num_images=sum(counts), threshold=repeat_threshold
        ),
    )
    if repeat_threshold:
        lane_records.check_window(shuffle_buffer)
    size = batch_size // num_hosts
    rows = range(host_index * size, (host_index + 1) * size)
    readers = plan.readers(rows)
    lanes = np.array([plan.lanes(reader, first_batch=first_batch) for reader in readers])

    def reader_records(lanes: tf.Tensor) -> tf.data.Dataset:
        return _in_turn(lanes, lane_records, number=plan.lanes_per_reader)

    has_one = plan.lanes_per_reader == 1
    records = _in_turn(
        lanes[:, 0] if has_one else lanes,
        lane_records if has_one else reader_records,
        number=len(lanes),
        block_length=plan.rows_per_reader,
    )
    first_row = readers.start * plan.rows_per_reader
    num_rows = len(readers) * plan.rows_per_reader

    def with_position(index: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = first_batch + index // num_rows
        return batch * batch_size + first_row + index % num_rows, record

    records = records.enumerate().map(with_position)
    if num_rows > size:  # The rows of a reader are those of several hosts.
        records = records.filter(lambda position, _: position % batch_size // size == host_index)
    return records


class _ShardCheck:
    """Returns the path of a shard, if it is the one of the manifest.

    Else the name of no file, which ends the iteration: an exception would be logged with its
    traceback, and `known_problem` has what it would say.
    """

    def __init__(
        self, directory: str | os.PathLike[str], info: DatasetInfo, split: str, *, is_counted: bool
    ) -> None:
        self._is_counted = is_counted
        self._shards = dict(zip(info.shard_paths(directory, split), info.split(split).shards))
        self._labels = frozenset(info.category_names())

    def __call__(self, path: bytes) -> bytes:
        name = path.decode()
        try:
            check_shard_once(name, self._shards[name], self._labels, is_counted=self._is_counted)
        except DataError:
            return path + b" (refused)"
        return path


class _LaneRecords:
    """The endless records of a lane, from a batch on."""

    def __init__(
        self,
        plan: ReadPlan,
        paths: Sequence[str],
        *,
        check: "_ShardCheck",
        first_batch: int,
        shuffle_buffer: int,
        drop_empty: bool,
        repeat_factors: dict[int, float],
    ) -> None:
        self._plan, self._paths, self._drop_empty = plan, tf.constant(paths), drop_empty
        self._repeat_factors = repeat_factors
        self._check = check
        window = max(1, shuffle_buffer // (2 * plan.num_lanes))
        self._window = min(window, plan.most_in_pass)
        position = first_batch * plan.batch_size
        self._first_pass = position // plan.num_records
        begin = self._first_pass * plan.num_records
        # Of the first pass, which is read from the beginning of a window.
        self._left_out = [
            plan.num_before(lane, position) - plan.num_before(lane, begin)
            for lane in range(plan.num_lanes)
        ]

    def check_window(self, shuffle_buffer: int) -> None:
        """Raises ConfigError where windows are too small to choose from."""
        if self._window < min(_MIN_BALANCED, self._plan.most_in_pass):
            least = _MIN_BALANCED * 2 * self._plan.num_lanes
            raise ConfigError(
                f"repeat_threshold chooses among the images of a window, and shuffle_buffer="
                f"{shuffle_buffer} leaves {self._window} to each of {self._plan.num_lanes} files "
                f"that are read in turn: set shuffle_buffer to at least {least}."
            )

    def __call__(self, lane: tf.Tensor) -> tf.data.Dataset:
        # Few functions, and none inside of one that runs for each pass: a pass may be short.
        passes = tf.data.Dataset.range(self._first_pass, _END_OF_TIME)
        parts = passes.flat_map(lambda number: self._parts_of_pass(lane, number))
        windows = parts.flat_map(self._read).batch(self._window)

        def shuffled(indices: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
            # No other window of any lane begins with this number.
            number = indices[0] * self._plan.num_lanes + lane
            seed = tf.stack([tf.constant(self._plan.seed, tf.int64), number])
            places = tf.boolean_mask(tf.range(tf.size(indices)), indices >= 0)
            if self._repeat_factors:
                # As many as there are: what comes behind lies where it did.
                places = choose_records(
                    tf.gather(records, places),
                    self._repeat_factors,
                    seed=self._plan.seed,
                    window=number,
                )
            return tf.gather(records, tf.random.experimental.stateless_shuffle(places, seed=seed))

        in_window = [number % self._window for number in self._left_out]
        skipped = tf.gather(tf.constant(in_window, tf.int64), lane)
        # The next window is read while this one is served.
        return windows.map(shuffled).prefetch(1).unbatch().skip(skipped)

    def _parts_of_pass(self, lane: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        types = [tf.int64] * 5
        columns = tf.numpy_function(self._columns_of_pass, [lane, number], types)
        shards, *others = (tf.ensure_shape(column, [None]) for column in columns)
        paths = tf.gather(self._paths, shards)
        return tf.data.Dataset.from_tensor_slices((paths, *others))

    def _columns_of_pass(self, lane: Any, number: Any) -> tuple[np.ndarray, ...]:
        """What to read of a pass; the fillers behind each part; the first record's index.

        A window holds records of one pass alone: the last is filled up with empty ones.
        """
        plan, lane, number = self._plan, int(lane), int(number)
        start = 0
        if number == self._first_pass:
            start = self._left_out[lane] // self._window * self._window
        parts = plan.parts(lane, number, start=start)
        fillers = np.zeros_like(parts.taken)
        fillers[-1:] = -parts.taken.sum() % self._window
        first = plan.num_before(lane, number * plan.num_records) + start
        indices = first + np.cumsum(parts.taken) - parts.taken
        return *parts, fillers, indices

    def _read(self, path, skipped, taken, fillers, index) -> tf.data.Dataset:
        """(index, record) of a part, and the fillers, whose index is -1."""
        path = tf.ensure_shape(tf.numpy_function(self._check, [path], tf.string), [])
        records = tf.data.TFRecordDataset(path)
        if self._drop_empty:
            records = records.filter(has_objects)
        indices = tf.data.Dataset.range(index, index + taken)
        filler = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), ""))
        records = tf.data.Dataset.zip((indices, records.skip(skipped)))
        return records.concatenate(filler.repeat(fillers))


def _in_turn(
    sources: Any,
    records: Callable[[tf.Tensor], tf.data.Dataset],
    *,
    number: int,
    block_length: int = 1,
) -> tf.data.Dataset:
    """So many records of each of a number of sources in turn; all of them are read at once."""
    return tf.data.Dataset.from_tensor_slices(sources).interleave(
        tf.autograph.experimental.do_not_convert(records),
        cycle_length=number,
        block_length=block_length,
        num_parallel_calls=min(number, num_processors()),
        deterministic=True,
    )


def _repeat_factors(
    examples_dir: str | os.PathLike[str], split: str, *, num_images: int, threshold: float
) -> dict[int, float]:
    if not threshold:
        return {}
    return split_repeat_factors(examples_dir, split, num_images=num_images, threshold=threshold)


def _num_empty(
    examples_dir: str | os.PathLike[str], split: str, counts: Sequence[int]
) -> list[int]:
    """How many images of each shard have no object: counted when they were converted."""
    statistics = read_statistics(examples_dir).get(split, {})
    empty = statistics.get("empty_of_shards")
    if empty is None and statistics.get("empty") == 0:
        return [0] * len(counts)
    if empty is None or len(empty) != len(counts) or None in empty:
        raise DataError(
            f"{examples_dir}: drop_empty_images=True needs the number of images without objects "
            "of each shard, which an earlier version did not count: convert the data set again."
        )
    return empty
