import collections
from pathlib import Path

import pytest
import tensorflow as tf

from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import DataError
from pix2seq_model.input_pipeline.read_plan import ReadPlan
from pix2seq_model.input_pipeline.record_stream import training_stream
from tests.fixtures.records import deal, write_examples, write_shards

NUM_EXAMPLES = 23
SEED = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # The stream never looks into a record.
    content = [b"record %02d" % number for number in range(NUM_EXAMPLES)]
    return write_examples(tmp_path_factory.mktemp("examples"), content, num_shards=5)


def read(folder, number, **changes):
    settings = {"split": "train", "seed": SEED, "batch_size": 4, "shuffle_buffer": 16} | changes
    stream = training_stream(folder, **settings).take(number)
    return [(int(position), record) for position, record in stream.as_numpy_iterator()]


# The last: a pass ends several times in a batch.
@pytest.mark.parametrize("batch_size", [4, 3, 64])
def test_each_pass_shows_every_example_once_in_a_new_order(folder, batch_size):
    rows = read(folder, 3 * NUM_EXAMPLES, batch_size=batch_size)
    assert [position for position, _ in rows] == list(range(3 * NUM_EXAMPLES))
    records = [record for _, record in rows]
    passes = [tuple(records[i : i + NUM_EXAMPLES]) for i in range(0, len(records), NUM_EXAMPLES)]
    for one_pass in passes:
        assert set(collections.Counter(one_pass).values()) == {1}
        assert len(one_pass) == NUM_EXAMPLES
    assert len(set(passes)) == 3


def test_entering_at_a_batch_continues_the_same_stream(folder):
    whole = read(folder, 40 * 3, batch_size=3)
    for first in (1, 7, 23, 30):  # Batch 23 begins the fourth pass.
        late = read(folder, 30, batch_size=3, first_batch=first)
        assert late == whole[3 * first :][:30]


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory):
    """40 shards of different sizes."""
    parts = [[b"%d %d" % (shard, n) for n in range(3 + shard % 4)] for shard in range(40)]
    return write_shards(tmp_path_factory.mktemp("examples"), {"train": parts})


@pytest.mark.parametrize(("batch_size", "hosts"), [(16, (2, 4, 8)), (6, (3,))])
def test_any_number_of_hosts_has_the_same_batches(many_shards, batch_size, hosts):
    arguments = {"batch_size": batch_size, "first_batch": 5}
    # Beyond the end of a pass, of 179 records.
    whole = read(many_shards, 12 * batch_size, **arguments)
    for num_hosts in hosts:
        size = batch_size // num_hosts
        for index in range(num_hosts):
            share = read(many_shards, 12 * size, **arguments, num_hosts=num_hosts, host_index=index)
            assert share == [row for row in whole if row[0] % batch_size // size == index]


def test_a_host_reads_its_own_shards_alone(tmp_path):
    """Of the others nothing is left but their size."""
    content = [b"record %03d" % number for number in range(128)]
    write_examples(tmp_path, content, num_shards=32)
    whole = read(tmp_path, 128, batch_size=16)
    plan = ReadPlan(counts=(4,) * 32, batch_size=16, seed=SEED)
    files = read_dataset_info(tmp_path).shard_paths(tmp_path, "train")
    before = [Path(file).read_bytes() for file in files]
    for index in (0, 3):
        lanes = range(4 * index, 4 * index + 4)
        own = {shard for lane in lanes for shard in plan.parts(lane, 0).shards.tolist()}
        assert len(own) == 8
        for shard, file in enumerate(files):
            Path(file).write_bytes(before[shard] if shard in own else bytes(len(before[shard])))
        # Its share of the pass; what is read ahead of the next one is not its own.
        share = read(tmp_path, 32, batch_size=16, num_hosts=4, host_index=index)
        assert share == [row for row in whole if row[0] % 16 // 4 == index]
    with pytest.raises(tf.errors.NotFoundError, match="refused"):
        read(tmp_path, 32, batch_size=16, num_hosts=4, host_index=1)


def bytes_read():
    """By this process, since it began."""
    rows = dict(row.split(": ") for row in Path("/proc/self/io").read_text().splitlines())
    return int(rows["rchar"])


def test_entering_late_reads_little_of_what_was_before(tmp_path):
    size, per_shard = 30_000, 8
    content = [b"%04d" % number + bytes(size) for number in range(16 * 16 * per_shard)]
    write_shards(tmp_path, {"train": deal(content, 16 * 16)})
    last = len(content) // 16 - 1
    read(tmp_path, 1, batch_size=16, shuffle_buffer=1)  # Whatever is read once.
    begin = bytes_read()
    rows = read(tmp_path, 16, batch_size=16, shuffle_buffer=1, first_batch=last)
    seen = bytes_read() - begin
    assert [position for position, _ in rows] == list(range(16 * last, 16 * last + 16))
    # Of the pass, 61 MB; of each of the 16 open files at most a shard in vain, and the first
    # records of the next pass, with the buffer that a file is read by; and shards that are opened
    # for the first time are read once more, to compare their checksums.
    checked = 3 * per_shard
    assert 16 * size < seen < 16 * (checked + per_shard + 3) * (size + 20) + 16 * 2 * (256 << 10)


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
    first = 10**12
    rows = read(folder, 8, seed=2**62, first_batch=first)
    assert [position for position, _ in rows] == list(range(4 * first, 4 * first + 8))


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
