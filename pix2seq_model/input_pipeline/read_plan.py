"""Which records of which shards each part of a batch is read from: arithmetic, no input or output.

A pass over a split is its shards in an order drawn for that pass, one after the other. It is cut
into as many runs of records as there are lanes. A lane is one file that is open at a time, and
serves the same rows of every batch; a reader is the lanes of a block of rows; a host reads the
lanes of its own rows and no others. Nothing of this depends on the number of hosts.

Each run has exactly as many records as its rows take in the pass, so that passes end at the same
position of the stream for all, whatever the sizes of shards and batches. Where a run begins inside
of a shard, that shard is read by two lanes, each its own part.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import numpy as np

# Files open at a time, over all hosts; a power of two, as numbers of hosts are.
MAX_LANES = 16


class Parts(NamedTuple):
    """Records to read one after the other: int64 (n,) each.

    Attributes:
      shards: indices of shards.
      skipped: records to leave out at the beginning of each.
      taken: records to take of each, more than 0.
    """

    shards: np.ndarray
    skipped: np.ndarray
    taken: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadPlan:
    """Where the records of the endless stream of batches lie.

    A record's position in the stream counts from 0 over all passes: batch number `position //
    batch_size`, row `position % batch_size`, pass `position // num_records`.

    Attributes:
      counts: records of each shard.
      batch_size: rows of a batch, over all hosts.
      seed: of the order of the shards, 0 to 2**64 - 1.
    """

    counts: tuple[int, ...]
    batch_size: int
    seed: int

    @functools.cached_property
    def num_records(self) -> int:
        return sum(self.counts)

    @functools.cached_property
    def num_lanes(self) -> int:
        """The largest power of two that is at most MAX_LANES and the number of shards.

        With more lanes than shards, each would read most of its shard in vain.
        """
        num_shards = sum(count > 0 for count in self.counts)
        return min(MAX_LANES, 1 << max(num_shards.bit_length() - 1, 0))

    @functools.cached_property
    def num_readers(self) -> int:
        """Blocks of rows that have lanes of their own: as many as divide both."""
        return math.gcd(self.batch_size, self.num_lanes)

    @property
    def lanes_per_reader(self) -> int:
        """A reader takes a record from each of its lanes in turn."""
        return self.num_lanes // self.num_readers

    @property
    def rows_per_reader(self) -> int:
        return self.batch_size // self.num_readers

    def readers(self, rows: range) -> range:
        """The readers that serve some rows of a batch, and perhaps rows around them."""
        size = self.rows_per_reader
        return range(rows.start // size, (rows.stop - 1) // size + 1)

    def lanes(self, reader: int, *, first_batch: int) -> list[int]:
        """The lanes of a reader in the order in which it takes from them, from a batch on."""
        number = self.lanes_per_reader
        turn = first_batch * self.rows_per_reader
        return [reader * number + (turn + index) % number for index in range(number)]

    def num_before(self, lane: int, position: int) -> int:
        """How many of the records before a position come from a lane."""
        reader, index = divmod(lane, self.lanes_per_reader)
        batch, row = divmod(position, self.batch_size)
        size = self.rows_per_reader
        of_reader = batch * size + min(max(row - reader * size, 0), size)
        return (of_reader - index + self.lanes_per_reader - 1) // self.lanes_per_reader

    def num_in_pass(self, lane: int, number: int) -> int:
        """How many records of a pass, by its number from 0, come from a lane."""
        begin = number * self.num_records
        return self.num_before(lane, begin + self.num_records) - self.num_before(lane, begin)

    @property
    def most_in_pass(self) -> int:
        """The most records of a pass that can come from one lane."""
        of_reader = (self.num_records // self.batch_size + 1) * self.rows_per_reader
        return -(-of_reader // self.lanes_per_reader)

    def shard_order(self, number: int) -> np.ndarray:
        """The shards in the order of a pass: int64 (shards,) indices."""
        # What a bit generator draws stays the same in every version of NumPy; a shuffle may not.
        random = np.random.Philox(key=self.seed | number << 64)
        return np.argsort(random.random_raw(len(self.counts)), kind="stable")

    def parts(self, lane: int, number: int, *, start: int = 0) -> Parts:
        """What a lane reads in a pass.

        Args:
          lane: which.
          number: of the pass, from 0.
          start: how many of the lane's records of this pass to leave out.
        """
        order = self.shard_order(number)
        counts = np.asarray(self.counts, np.int64)[order]
        ends = np.cumsum(counts)
        starts = ends - counts
        begin = sum(self.num_in_pass(other, number) for other in range(lane))
        end = begin + self.num_in_pass(lane, number)
        first = np.clip(begin + start - starts, 0, counts)
        last = np.clip(end - starts, 0, counts)
        is_read = first < last
        return Parts(order[is_read], first[is_read], (last - first)[is_read])
