"""What is no file that can be read to its end."""

import os
import socket

import pytest
from etils import epath

from pix2seq_model.data.annotation_file import check_file, read_annotation_file, read_rows
from pix2seq_model.data.manifest import ShardInfo
from pix2seq_model.data.shard_check import check_shard
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import read_json
from pix2seq_model.metrics import coco_files
from pix2seq_model.reference_check import CheckpointError, _read
from pix2seq_model.regular_file import irregular_kind, regular_status
from tests.fixtures.pipes import named_pipe


def test_only_regular_files_are_any(tmp_path):
    (tmp_path / "whole").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("whole")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("whole", "link"):
        assert regular_status(tmp_path / name).st_size == 3
    names = ["pipe", "self", "broken", "none", ".", "whole/below", "a" * 256, "a\0b"]
    for path in (*(f"{tmp_path}/{name}" for name in names), "/dev/zero"):
        assert regular_status(path) is None


def test_what_stands_there_in_place_of_a_file_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # The name of a socket has a limit.
    os.mkfifo("pipe")
    (tmp_path / "whole").touch()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        kinds = {name: irregular_kind(name) for name in ("pipe", "socket", ".", "/dev/zero")}
    assert kinds == {
        "pipe": "is a named pipe, not a file",
        "socket": "is a socket, not a file",
        ".": "is a folder",
        "/dev/zero": "is a device, not a file",
    }
    for name in ("whole", "none", "a\0b", "gs://bucket/x"):
        assert irregular_kind(name) == ""


def _shard(path):
    check_shard(path, ShardInfo(file="x", num_examples=0, num_bytes=0, sha256="0"), ())


def _reference(path):
    folder = epath.Path(path).parent
    (folder / "config.json").write_text("{}")
    _read(folder)


READERS = {
    "json": lambda path: read_json(epath.Path(path), fix="write it again"),
    "annotations": read_annotation_file,
    "beginning of annotations": check_file,
    "rows of annotations": lambda path: next(read_rows(path, "images")),
    "results": coco_files.read_json,
    "shard": _shard,
    "reference": _reference,
}


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_waits_for_a_pipe(tmp_path, reader):
    with (
        named_pipe(tmp_path / "golden.npz") as path,
        pytest.raises((DataError, CheckpointError), match="is a named pipe, not a file"),
    ):
        READERS[reader](str(path))


@pytest.mark.parametrize(
    "reader",
    [
        "json",
        "annotations",
        "results",
        "shard",
    ],
)
@pytest.mark.parametrize(("place", "kind"), [("/dev/null", "is a device"), ("/", "is a folder")])
def test_no_reader_reads_a_device_or_a_folder(reader, place, kind):
    with pytest.raises(DataError, match=kind):
        READERS[reader](place)
