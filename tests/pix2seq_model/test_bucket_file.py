"""What the store says of an object; writing it is tried in test_folder_lock.py."""

import base64

import google_crc32c
import pytest

from pix2seq_model import bucket_file
from tests.fixtures.served_bucket import served_bucket


@pytest.fixture
def store(monkeypatch):
    bucket_file._client.cache_clear()
    with served_bucket(monkeypatch) as store:
        yield store
    bucket_file._client.cache_clear()


def test_the_checksum_of_an_object(store):
    from components.storage.files import write_file

    write_file("gs://bucket/a", "shard.tfrecord", b"records")
    expected = base64.b64encode(google_crc32c.Checksum(b"records").digest()).decode()
    assert bucket_file.crc32c_of("gs://bucket/a/shard.tfrecord") == expected
    assert bucket_file.crc32c_of("gs://bucket/a/none.tfrecord") == ""
