"""The TFRecord container: length, checksum of the length, data, checksum of the data.

Layout of one record, all little-endian: uint64 length, uint32 masked CRC-32C of those 8 bytes,
the data, uint32 masked CRC-32C of the data (tensorflow/core/lib/io/record_writer.h).
"""

import struct
from collections.abc import Iterator
from typing import Protocol

import google_crc32c

from pix2seq_model.errors import DataError

_MASK_DELTA = 0xA282EAD8
# Protobuf reads no longer message. A place for all of it is made before it is read.
_MOST_BYTES = (1 << 31) - 1


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _packed_crc(data: bytes) -> bytes:
    return struct.pack("<I", _masked_crc(data))


def _with_crc(data: bytes) -> bytes:
    return data + _packed_crc(data)


def frame_record(data: bytes) -> bytes:
    """Returns `data` as one TFRecord, ready to be appended to a file."""
    return _with_crc(struct.pack("<Q", len(data))) + _with_crc(data)


class Readable(Protocol):
    """What records are read from, one after the other."""

    def read(self, size: int, /) -> bytes: ...


def read_records(file: Readable, *, name: str) -> Iterator[bytes]:
    """Yields the data of every record of an open TFRecord file; `name` is for messages.

    Raises:
      DataError: a record is cut off, its checksum is wrong, or it is longer than 2 GB.
    """
    offset = 0

    def checked(part: bytes, size: int) -> bytes:
        """The first `size` bytes of a part, with their checksum behind them."""
        data = part[:size]
        if part[size:] != _packed_crc(data):
            damage = "cut off" if len(part) < size + 4 else "damaged"
            raise DataError(f"{name}: {damage} at byte {offset}; convert the data set again")
        return data

    while header := file.read(12):
        (length,) = struct.unpack("<Q", checked(header, 8))
        if length > _MOST_BYTES:
            raise DataError(
                f"{name}: a record of {length:,} bytes at byte {offset}, of which no message can "
                "be; convert the data set again"
            )
        yield checked(file.read(length + 4), length)
        offset += 16 + length
