import collections

import pytest
import tensorflow as tf

from pix2seq_model.errors import DataError
from pix2seq_model.input_pipeline.record_stream import training_stream
from tests.fixtures.records import write_examples

NUM_EXAMPLES = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # The stream never looks into a record.
    content = [b"record %02d" % number for number in range(NUM_EXAMPLES)]
    return write_examples(tmp_path_factory.mktemp("examples"), content, num_shards=5)


def read(folder, number, **changes):
    settings = {"split": "train", "seed": 11, "shuffle_buffer": 6} | changes
    stream = training_stream(folder, **settings).take(number)
    return [(int(position), record) for position, record in stream.as_numpy_iterator()]


def test_each_pass_shows_every_example_once_in_a_new_order(folder):
    rows = read(folder, 3 * NUM_EXAMPLES)
    assert [position for position, _ in rows] == list(range(3 * NUM_EXAMPLES))
    records = [record for _, record in rows]
    passes = [tuple(records[i : i + NUM_EXAMPLES]) for i in range(0, len(records), NUM_EXAMPLES)]
    for one_pass in passes:
        assert set(collections.Counter(one_pass).values()) == {1}
        assert len(one_pass) == NUM_EXAMPLES
    assert len(set(passes)) == 3


@pytest.mark.parametrize("start", [1, 7, NUM_EXAMPLES - 1, NUM_EXAMPLES, NUM_EXAMPLES + 4, 70])
def test_entering_at_a_position_continues_the_same_stream(folder, start):
    assert read(folder, 30, start_position=start) == read(folder, start + 30)[start:]


def test_the_order_depends_on_the_seed_alone(folder):
    rows = read(folder, 40)
    tf.random.set_seed(5)
    try:
        assert read(folder, 40) == rows
    finally:
        tf.random.set_seed(0)
    assert read(folder, 40, seed=12) != rows


def test_the_buffer_mixes_within_a_shard(folder):
    unshuffled = read(folder, NUM_EXAMPLES, shuffle_buffer=1)
    assert read(folder, NUM_EXAMPLES, shuffle_buffer=1000) != unshuffled


def test_large_seeds_and_positions(folder):
    start = 10**12
    rows = read(folder, 2, seed=2**62, start_position=start)
    assert [position for position, _ in rows] == [start, start + 1]


def test_a_missing_shard_is_named(tmp_path):
    write_examples(tmp_path, [b"a", b"b"])
    path = tmp_path / "Split-train/examples-00001-of-00002.tfrecord"
    path.unlink()
    with pytest.raises(DataError, match=f"{path} is missing"):
        read(tmp_path, 1)


def test_an_empty_split_is_refused(tmp_path):
    write_examples(tmp_path, [], num_shards=1)
    with pytest.raises(DataError, match="'train' is empty"):
        read(tmp_path, 1)


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(DataError, match="no split 'val'"):
        read(folder, 1, split="val")
