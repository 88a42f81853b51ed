"""The TFRecord container against TensorFlow's own reader and writer."""

import io
import struct

import pytest
import tensorflow as tf

from pix2seq_model.data.tfrecord import frame_record, read_records
from pix2seq_model.errors import DataError

RECORDS = [b"", b"a", b"\x00\xff" * 1000]


def test_tensorflow_reads_ours(tmp_path):
    path = tmp_path / "x.tfrecord"
    path.write_bytes(b"".join(map(frame_record, RECORDS)))
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(path))] == RECORDS


def test_ours_are_tensorflows_bytes(tmp_path):
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    assert path.read_bytes() == b"".join(map(frame_record, RECORDS))
    with path.open("rb") as file:
        assert list(read_records(file, name="x")) == RECORDS


@pytest.mark.parametrize(("cut", "message"), [(5, "cut off at byte 0"), (25, "cut off at byte 17")])
def test_cut_off_file_is_refused(cut, message):
    whole = frame_record(b"a") + frame_record(b"bcd")
    with pytest.raises(DataError, match=f"some.tfrecord: {message}"):
        list(read_records(io.BytesIO(whole[:cut]), name="some.tfrecord"))


@pytest.mark.parametrize("position", [0, 9, 13, 16])
def test_damaged_file_is_refused(position):
    damaged = bytearray(frame_record(b"abcd"))
    damaged[position] ^= 1
    with pytest.raises(DataError, match="damaged at byte 0"):
        list(read_records(io.BytesIO(bytes(damaged)), name="some.tfrecord"))


@pytest.mark.parametrize("length", [1 << 31, 1 << 50, (1 << 64) - 1])
def test_a_forged_length_is_refused_before_room_is_made_for_it(tmp_path, length):
    path = tmp_path / "x.tfrecord"
    header = frame_record(struct.pack("<Q", length))[12:]  # Its checksum is right.
    path.write_bytes(frame_record(b"a") + header + b"bcd")
    with path.open("rb") as file:
        records = read_records(file, name="some.tfrecord")
        assert next(records) == b"a"
        with pytest.raises(DataError, match=r"some.tfrecord: a record of [\d,]+ bytes at byte 17"):
            next(records)
