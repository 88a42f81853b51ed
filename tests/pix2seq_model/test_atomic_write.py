import errno
import json
import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from etils import epath

from pix2seq_model import atomic_write
from pix2seq_model.atomic_write import (
    atomic_path,
    seconds_unchanged,
    write_atomically,
    write_json,
)
from tests.fixtures.epath_bucket import epath_bucket


@pytest.mark.parametrize("content", ["text\n", b"\0bytes"])
def test_a_file_and_its_folders(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, content)
    write_atomically(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(path.parent.iterdir()) == [path]


def test_json(tmp_path):
    write_json(tmp_path / "flat", {"a": [1]})
    write_json(tmp_path / "indented", {"a": [1]}, indent=1)
    assert (tmp_path / "flat").read_text() == '{"a": [1]}'
    assert json.loads((tmp_path / "indented").read_text()) == {"a": [1]}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "flat", float("nan"))
    assert (tmp_path / "flat").read_text() == '{"a": [1]}'


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "weights.h5"
    with atomic_path(path) as file:
        assert file.suffix == ".h5"
        file.write_bytes(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def write():
        with atomic_path(path) as file:
            file.write_bytes(b"half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_for_a_bucket_is_written_here_and_copied(monkeypatch, tmp_path):
    copied = {}

    def copy(source, target, overwrite):
        assert overwrite
        copied[str(target)] = source.read_bytes()

    monkeypatch.setattr("etils.epath.gpath._GPath.copy", copy)
    with atomic_path("gs://bucket/folder/a.npz") as file:
        file.write_bytes(b"all")
    assert copied == {"gs://bucket/folder/a.npz": b"all"}


def test_room_is_known_before_the_block(tmp_path, monkeypatch):
    """HDF5 ends the process where a disk is full."""

    def refuse(descriptor, start, size):
        assert size == 5000
        raise OSError(errno.ENOSPC, "No space left on device")

    with atomic_path(tmp_path / "x", room=5000) as local:
        assert not local.exists()
        local.write_text("whole")
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    refused = pytest.raises(OSError, match="No space left")
    with refused as full, atomic_path(tmp_path / "x", room=5000):
        pytest.fail("there was no room")
    assert full.value.errno == errno.ENOSPC
    assert full.value.filename == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "whole"


def test_two_that_write_one_file_at_once(tmp_path, monkeypatch):
    """Each has a name of its own: none takes half of what the other writes, or all of it."""
    path, kind = tmp_path / "x.h5", type(epath.Path(tmp_path))
    with atomic_path(path) as first:
        first.write_bytes(b"first")
        with atomic_path(path) as second:
            second.write_bytes(b"second, longer")
            assert second.suffix == first.suffix == ".h5"
        assert path.read_bytes() == b"second, longer"
    assert path.read_bytes() == b"first"
    write_bytes = kind.write_bytes

    def write_between(place, content):
        write_bytes(place, content)
        if content == b"third":
            write_atomically(path, b"fourth")
            assert path.read_bytes() == b"fourth"

    monkeypatch.setattr(kind, "write_bytes", write_between)
    write_atomically(path, b"third")
    assert path.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("ä" * 125 + ".json")
    write_atomically(path, "whole")
    with atomic_path(path) as file:
        assert file.suffix == ".json"
        file.write_text("again")
    assert path.read_text() == "again"


def test_what_killed_writers_left_is_removed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    here, other, word = atomic_write._machine(), "0" * 8, "01234567"
    hours = {
        f".partial-{here}-{ended.pid}-{word}-a": 1,
        f".partial-{here}-{os.getpid()}-{word}-a": 1,  # Of one with our number, before a restart.
        f".partial-{other}-{ended.pid}-{word}-a": 25,
    }
    kept = {
        f".partial-{here}-{ended.pid}-{word}-b": 0.1,
        f".partial-{here}-{os.getppid()}-{word}-a": 30,
        f".partial-{other}-{ended.pid}-{word}-b": 23,
        f".partial-new-{word}-a": 30,
        "partial": 30,
    }
    for name, age in (hours | kept).items():
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - 3600 * age,) * 2)
    write_atomically(tmp_path / "x", "1")
    assert {path.name for path in tmp_path.iterdir()} == {"x", *kept}


def test_what_is_being_written_here_is_not_taken_for_left(tmp_path):
    with atomic_path(tmp_path / "x") as file:
        file.write_text("1")
        os.utime(file, (time.time() - 7200,) * 2)
        atomic_write._remove_abandoned(str(tmp_path))
        assert file.exists()


def test_an_object_of_a_bucket_is_written_under_its_own_name(tmp_path, monkeypatch):
    with epath_bucket(monkeypatch, tmp_path) as asked:
        write_json("gs://data/folder/x", [1])
        assert epath.Path("gs://data/folder/x").read_text() == "[1]"
        assert not {"rename", "replace"} & set(asked)
    assert [path.name for path in (tmp_path / "data/folder").iterdir()] == ["x"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    write_json(tmp_path / "x", [1])

    def refuse(path, text):
        Path(path).write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(epath.Path(tmp_path)), "write_text", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "x", [2])
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"[1]"


@pytest.mark.parametrize("newest", ["", "a", "a/b", "a/b/file"])
def test_a_folder_is_as_new_as_the_newest_in_it(tmp_path, newest, monkeypatch):
    # As in a container whose user has no name.
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("")
    for name in ("a/b/file", "a/b", "a", ""):
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    assert 7000 < seconds_unchanged(tmp_path) < 7900
    os.utime(tmp_path / newest, (time.time() - 3600,) * 2)
    assert 3400 < seconds_unchanged(tmp_path) < 4300


def test_in_a_bucket_files_alone_have_a_time(tmp_path, monkeypatch):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "file").write_text("")
    os.utime(tmp_path / "data" / "a" / "file", (time.time() - 7200,) * 2)
    with epath_bucket(monkeypatch, tmp_path):
        assert 7000 < seconds_unchanged("gs://data/a") < 7900


def write_in_block(path):
    with atomic_path(path) as file, file.open("wb") as written:
        written.write(b"some")


@pytest.mark.parametrize("write", [lambda path: write_atomically(path, "some"), write_in_block])
def test_a_full_disk_is_named(tmp_path, write, monkeypatch):
    """The system tells of a failed write that the disk is full, but not which file it was."""
    word = uuid.uuid4()
    monkeypatch.setattr(uuid, "uuid4", lambda: word)
    with atomic_path(tmp_path / "report.html") as file:
        file.write_text("")
        temporary = file
    (tmp_path / "report.html").unlink()
    temporary.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*/report\.html'"):
        write(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
