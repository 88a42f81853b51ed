"""What stands in place of a file, in words."""

import pytest

from pix2seq_model.data.wrong_content import describe_content


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (b"\n <!DOCTYPE HTML><html>", "is an HTML page"),
        (b"<HTML>", "is an HTML page"),
        (b'<?xml version="1.0"?><Error>', "is XML"),
        (b'{"error": 404}', "is JSON text"),
        (b"PK\x03\x04abc", "is a zip archive"),
        (bytes(100), "holds zero bytes only"),
        (b"\x01\x02", r"begins with b'\x01\x02'"),
    ],
)
def test_words(data, words):
    assert words in describe_content(data)
