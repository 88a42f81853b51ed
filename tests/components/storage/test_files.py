import csv
import errno
import gzip
import io
import os
import zipfile
import zlib
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from components.storage.files import open_unpacked, refusing, write_file
from pix2seq_model.errors import ConfigError, DataError, UnavailableError
from tests.fixtures.pipes import named_pipe


@pytest.mark.parametrize("fails", ["write", "close", "rename"])
def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, monkeypatch, fails):
    full = OSError(errno.ENOSPC, "No space left on device")

    class Full(io.BytesIO):
        def write(self, content):
            if fails == "write":
                raise full
            return super().write(content)

        def close(self):
            super().close()
            if fails == "close":
                raise full

    def create(path, **_):
        Path(path).touch()
        return Full()

    def replace(*_):
        raise full

    write_file(str(tmp_path), "progress/x.json", b"before")
    if fails == "rename":
        monkeypatch.setattr(os, "replace", replace)
    else:
        monkeypatch.setattr(FileSystems, "create", create)
    with pytest.raises(UnavailableError, match=rf"{tmp_path} is full .*run the same command again"):
        write_file(str(tmp_path), "progress/x.json", b"after")
    assert [path.name for path in (tmp_path / "progress").iterdir()] == ["x.json"]
    assert (tmp_path / "progress/x.json").read_bytes() == b"before"


def test_what_is_no_file_is_refused(tmp_path):
    for path, said in ((tmp_path, "is a folder"), ("/dev/null", "is a device, not a file")):
        with pytest.raises(DataError, match=said):
            open_unpacked(str(path))
    with named_pipe(tmp_path / "x.json") as pipe, pytest.raises(DataError, match="named pipe"):
        open_unpacked(str(pipe)).read()
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b"[]"))
    with open_unpacked(str(tmp_path / "x.json.gz")) as file:
        assert file.read() == b"[]"


def test_every_file_of_a_user_is_opened_by_it():
    """Beam's own opening waits for a pipe."""
    root = Path(__file__).parents[3]
    files = [path for room in ("components", "pipelines") for path in (root / room).rglob("*.py")]
    opening = [path.relative_to(root) for path in files if "FileSystems.open(" in path.read_text()]
    assert opening == [Path("components/storage/files.py")]


@pytest.mark.parametrize(
    "error",
    [csv.Error, RecursionError, OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile],
)
def test_what_a_reader_raises_for_its_content_names_the_file(error):
    with (
        pytest.raises(DataError, match=r"^a\.csv cannot be read: why$"),
        refusing("a.csv cannot be read"),
    ):
        raise error("why")
    with pytest.raises(ConfigError, match=r"^of its own$"), refusing("a.csv cannot be read"):
        raise ConfigError("of its own")
    with pytest.raises(ZeroDivisionError), refusing("a.csv cannot be read"):
        raise ZeroDivisionError
