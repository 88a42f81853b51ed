"""Rows of metadata packed into small compressed batches: what the shuffle carries.

A runner spends hundreds of bytes on each element that it shuffles, whatever its size, and a row of
an annotation file has some fifty. So rows travel some hundreds at a time, as one byte string: a
shuffle of Objects365's 30 million boxes is then a few GB, and its elements are few.

Rows are spread by the hash of their image's id. The hash decides an image's place: its
bucket (a fixed, large number of them, for joining images with their files before the number of
shards is known), its shard, and its position inside.
"""

import collections
import hashlib
import zlib
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import orjson

NUM_BUCKETS = 512
HASH_BYTES = 8
# Held by one worker while it packs, over all keys, as JSON.
_BYTES_HELD = 32_000_000
_FASTEST = 1
_Key = TypeVar("_Key", bound=Hashable)


def image_hash(image_id: str, *, split: str, seed: int) -> int:
    """Returns the 64-bit number that decides an image's place among the records."""
    digest = hashlib.blake2b(f"{seed}/{split}/{image_id}".encode(), digest_size=HASH_BYTES)
    return int.from_bytes(digest.digest())


def part_of(image_hash_: int, num_parts: int) -> int:
    """Returns which of `num_parts` equal ranges of hashes an image falls into."""
    return image_hash_ * num_parts >> 8 * HASH_BYTES


def owner(row: Sequence[Any]) -> str:
    """Returns the id of a row's image, or the row itself if it has none.

    Args:
      row: an `ImageRow` or `AnnotationRow`, or its values: its place and the image's id come first.
    """
    return row[1] or f"row {row[0]}"


def pack(kind: str, rows: Sequence[Sequence[Any]]) -> bytes:
    """Packs rows of JSON values; `kind` says what they are. NaN comes back as None."""
    return zlib.compress(orjson.dumps([kind, rows]), _FASTEST)


def content(batch: bytes) -> bytes:
    """Returns what is in a batch: the same bytes whatever version of zlib packed it."""
    return zlib.decompress(batch)


def unpack(batch: bytes) -> tuple[str, list[list[Any]]]:
    """Returns the kind and the rows of a batch."""
    kind, rows = orjson.loads(content(batch))
    return kind, rows


class BatchPacker(Generic[_Key]):
    """Collects rows by key and gives them out as packed batches, holding a bounded number of bytes.

    Rows are copied into one buffer for each key: the `bytes` that orjson returns keep the 4 KB in
    which it wrote them, however few they are, and a quarter of a million held a gigabyte.
    """

    def __init__(self, kind: str):
        self._beginning = b"[%b,[" % orjson.dumps(kind)
        self._rows: dict[_Key, bytearray] = collections.defaultdict(bytearray)
        self._num_bytes = 0

    def add(self, key: _Key, row: Sequence[Any]) -> Iterator[tuple[_Key, bytes]]:
        """Adds a row; yields (key, batch) for all rows held once they are many."""
        packed = orjson.dumps(row)
        rows = self._rows[key]
        rows += b"," if rows else self._beginning
        rows += packed
        self._num_bytes += len(packed)
        if self._num_bytes >= _BYTES_HELD:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[_Key, bytes]]:
        """Yields (key, batch) for all rows held."""
        for key, rows in self._rows.items():
            rows += b"]]"
            yield key, zlib.compress(rows, _FASTEST)
        self._rows.clear()
        self._num_bytes = 0
