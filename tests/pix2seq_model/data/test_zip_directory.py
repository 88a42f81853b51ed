"""Archives with odd entries."""

import io
import zipfile

import pytest

from pix2seq_model.data.zip_directory import open_zip
from pix2seq_model.errors import DataError


def archive_with(change):
    """An archive of two files, whose directory `change` gets as bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("odd.jpg", b"abc")
        archive.writestr("whole.jpg", b"def")
    content = file.getvalue()
    begin = content.index(b"PK\x01\x02")
    directory = bytearray(content[begin:])
    change(directory)
    return io.BytesIO(content[:begin] + directory)


def test_an_entry_of_a_later_version_is_refused_alone():
    file = archive_with(lambda directory: directory.__setitem__(6, 0xFA))
    assert open_zip(file, place="a.zip").read("whole.jpg") == b"def"


def test_what_is_no_archive():
    def name_is_no_utf8(directory):
        directory[9] |= 0x08
        directory[46] = 0xFF

    for file in (archive_with(name_is_no_utf8), io.BytesIO(b"x" * 100)):
        with pytest.raises(DataError, match=r"a.zip: not a zip archive .*unpack it yourself"):
            open_zip(file, place="a.zip")
