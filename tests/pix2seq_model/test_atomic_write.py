import json

import pytest

from pix2seq_model.atomic_write import atomic_path, write_atomically, write_json


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
