import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.input_pipeline.read_plan import ReadPlan

_COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any)
_BATCH_SIZES = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 24, 25, 32, 64, 100])


def lane_of(plan, position):
    """By the description: rows to readers in blocks, the records of a reader to lanes in turn."""
    batch, row = divmod(position, plan.batch_size)
    reader, in_block = divmod(row, plan.rows_per_reader)
    turn = batch * plan.rows_per_reader + in_block
    return reader * plan.lanes_per_reader + turn % plan.lanes_per_reader


def read_of(parts):
    return [
        (int(shard), record)
        for shard, skipped, taken in zip(*parts)
        for record in range(skipped, skipped + taken)
    ]


@given(_COUNTS, _BATCH_SIZES, st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_the_lanes_read_each_record_once_a_pass(counts, batch_size, seed, number):
    plan = ReadPlan(counts=tuple(counts), batch_size=batch_size, seed=seed)
    first = number * plan.num_records
    positions = range(first, first + plan.num_records)
    served = collections.Counter(lane_of(plan, position) for position in positions)
    seen = []
    for lane in range(plan.num_lanes):
        read = read_of(plan.parts(lane, number))
        # As many as its rows take in the pass: no lane comes to the next pass before another.
        assert len(read) == served[lane] == plan.num_in_pass(lane, number) <= plan.most_in_pass
        seen += read
    everything = [(shard, n) for shard, count in enumerate(counts) for n in range(count)]
    assert sorted(seen) == everything


@given(_COUNTS, _BATCH_SIZES, st.integers(0, 300))
def test_the_records_before_a_position_are_counted_by_lane(counts, batch_size, position):
    plan = ReadPlan(counts=tuple(counts), batch_size=batch_size, seed=1)
    served = collections.Counter(lane_of(plan, before) for before in range(position))
    for lane in range(plan.num_lanes):
        assert plan.num_before(lane, position) == served[lane]


@given(_COUNTS, _BATCH_SIZES, st.data())
def test_entering_leaves_whole_shards_out(counts, batch_size, data):
    plan = ReadPlan(counts=tuple(counts), batch_size=batch_size, seed=2)
    lane = data.draw(st.integers(0, plan.num_lanes - 1))
    whole = plan.parts(lane, 3)
    start = data.draw(st.integers(0, int(whole.taken.sum())))
    late = plan.parts(lane, 3, start=start)
    assert read_of(late) == read_of(whole)[start:]
    assert not late.skipped[1:].any()
    for shard, skipped, taken in zip(*late):
        assert skipped + taken <= counts[shard]


@given(_COUNTS, _BATCH_SIZES, st.integers(0, 20))
def test_the_turns_of_a_reader_begin_at_the_batch(counts, batch_size, first_batch):
    plan = ReadPlan(counts=tuple(counts), batch_size=batch_size, seed=1)
    for reader in range(plan.num_readers):
        row = reader * plan.rows_per_reader
        lanes = plan.lanes(reader, first_batch=first_batch)
        assert lanes[0] == lane_of(plan, first_batch * batch_size + row)
        assert sorted(lanes) == list(
            range(reader * plan.lanes_per_reader, (reader + 1) * plan.lanes_per_reader)
        )


@pytest.mark.parametrize("num_hosts", [1, 2, 4, 8, 16])
def test_hosts_have_shards_of_their_own(num_hosts):
    """But for those in which the run of one host ends and that of the next begins."""
    counts = tuple(np.random.default_rng(0).integers(90, 110, 200).tolist())
    plan = ReadPlan(counts=counts, batch_size=64, seed=5)
    rows = 64 // num_hosts
    shards = []
    for host in range(num_hosts):
        readers = plan.readers(range(host * rows, (host + 1) * rows))
        assert len(readers) * plan.rows_per_reader == rows
        read = [
            set(plan.parts(lane, 7).shards.tolist())
            for reader in readers
            for lane in plan.lanes(reader, first_batch=0)
        ]
        shards.append(set.union(*read))
    assert set.union(*shards) == set(range(200))
    assert sum(map(len, shards)) <= 200 + num_hosts - 1


@pytest.mark.parametrize(
    ("num_shards", "batch_size", "lanes", "readers"),
    [(1, 32, 1, 1), (3, 32, 2, 2), (40, 1, 16, 1), (40, 12, 16, 4), (40, 256, 16, 16)],
)
def test_no_more_lanes_than_shards(num_shards, batch_size, lanes, readers):
    plan = ReadPlan(counts=(5,) * num_shards, batch_size=batch_size, seed=0)
    assert (plan.num_lanes, plan.num_readers) == (lanes, readers)


def test_empty_shards_do_not_count():
    assert ReadPlan(counts=(0, 5, 0, 0, 5), batch_size=4, seed=0).num_lanes == 2


def test_the_order_of_shards_is_that_of_every_version():
    plan = ReadPlan(counts=(1,) * 8, batch_size=4, seed=7)
    assert plan.shard_order(0).tolist() == [4, 1, 6, 3, 2, 7, 5, 0]
    assert plan.shard_order(1).tolist() == [3, 1, 6, 2, 5, 4, 0, 7]
    assert plan.shard_order(10**12).tolist() == [0, 7, 1, 3, 4, 5, 2, 6]
