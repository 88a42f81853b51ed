"""The TFRecord container: length, checksum of the length, data, checksum of the data.

Layout of one record, all little-endian: uint64 length, uint32 masked CRC-32C of those 8 bytes,
the data, uint32 masked CRC-32C of the data (tensorflow/core/lib/io/record_writer.h).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from pix2seq_model.errors import DataError

_MASK_DELTA = 0xA282EAD8


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """Returns `data` as one TFRecord, ready to be appended to a file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", _masked_crc(length)),
            data,
            struct.pack("<I", _masked_crc(data)),
        )
    )


def read_records(file: BinaryIO, *, name: str) -> Iterator[bytes]:
    """Yields the data of every record of an open TFRecord file; `name` is for messages.

    Raises:
      DataError: a record is cut off or its checksum is wrong.
    """
    offset = 0
    while header := file.read(12):
        if len(header) < 12:
            raise DataError(f"{name}: cut off at byte {offset}; convert the data set again")
        (length,) = struct.unpack("<Q", header[:8])
        if struct.unpack("<I", header[8:])[0] != _masked_crc(header[:8]):
            raise DataError(f"{name}: damaged at byte {offset}; convert the data set again")
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise DataError(f"{name}: cut off at byte {offset}; convert the data set again")
        data = body[:length]
        if struct.unpack("<I", body[length:])[0] != _masked_crc(data):
            raise DataError(f"{name}: damaged at byte {offset}; convert the data set again")
        offset += 16 + length
        yield data
