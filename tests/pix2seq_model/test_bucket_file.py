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


def test_the_checksums_of_a_folder_come_by_one_request_a_thousand(store):
    for number in range(1001):
        store.put(f"bucket/a/{number}", b"%d" % number)
    store.put("bucket/ab/1", b"of another folder")
    found = bucket_file.crc32c_below("gs://bucket/a")
    assert len(found) == 1001
    assert found["gs://bucket/a/7"] == bucket_file.crc32c_of("gs://bucket/a/7")
    assert store.asked == {"list": 2, "metadata": 1}
    store.refuses = lambda kind, name: 403
    with pytest.raises(OSError, match="gs://bucket/a: "):
        bucket_file.crc32c_below("gs://bucket/a")
