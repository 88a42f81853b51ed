"""Objects read and written by one client for each process."""

import gc
import os
import threading
from concurrent import futures

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp import gcsio

from components.storage import bucket
from components.storage.files import (
    file_exists,
    file_metadata,
    folder_exists,
    list_files,
    new_file,
    open_file,
    read_file,
    read_whole,
    write_file,
)
from components.storage.image_store import ImageFolder, open_store, read_with_retries
from pix2seq_model.errors import UnavailableError
from tests.fixtures.served_bucket import served_bucket

ROOT = "gs://data/folder"


@pytest.fixture
def store(monkeypatch):
    with served_bucket(monkeypatch) as store:
        yield store


def test_what_is_written_is_read_by_one_request_each(store):
    write_file(ROOT, "a/small.json", b"{}")
    assert store.asked == {"write": 1}
    assert read_file(ROOT, "a/small.json") == b"{}"
    assert store.asked == {"write": 1, "read": 1}
    assert read_file(ROOT, "a/none.json") is None
    assert file_metadata(f"{ROOT}/a/none.json") is None
    assert not file_exists(f"{ROOT}/a")
    assert folder_exists(f"{ROOT}/a")
    assert not folder_exists(f"{ROOT}/a/small")


@pytest.mark.parametrize("size", [0, 5, bucket._PART_BYTES, bucket._PART_BYTES + 7])
def test_a_large_file_appears_whole_under_its_own_name(store, size):
    content = os.urandom(1000) * (size // 1000 + 1)
    with new_file(ROOT, "shard") as file:
        for start in range(0, size, 1 << 20):
            file.write(content[start : min(start + (1 << 20), size)])
        assert not store.objects
    assert store.objects == {"data/folder/shard": content[:size]}
    assert store.asked["write"] == 1
    with open_file(f"{ROOT}/shard") as file:
        assert file.read(3) == content[: min(size, 3)]


@pytest.mark.parametrize("refused", [0, 503])
def test_a_file_that_fails_while_it_is_written_is_not_there(store, refused):
    def refuses(kind, name):
        return refused if kind == "delete" else 0

    store.refuses = refuses

    def write():
        with new_file(ROOT, "shard") as file:
            file.write(bytes(bucket._PART_BYTES + 5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    gc.collect()  # Python closes what nobody holds.
    assert not store.objects


def test_versions_are_those_of_beam(store):
    for number in range(1, 12):
        store.put("data/folder/a.jpg", bytes(number))
        (listed,) = bucket.list_objects(ROOT)
        looked_up = bucket.object_metadata(f"{ROOT}/a.jpg")
        of_beam = FileSystems.get_filesystem(ROOT).metadata(f"{ROOT}/a.jpg")
        assert listed == looked_up == of_beam


def test_a_listing_has_what_is_below_the_folder_alone(store):
    for name in ("a.jpg", "b/c.jpg", "b/d/e.jpg", "b/"):
        store.put(f"data/folder/{name}", b"1")
    store.put("data/folder2/x.jpg", b"1")
    assert list(list_files(ROOT)) == ["a.jpg", "b/c.jpg", "b/d/e.jpg"]
    folders = []
    (found,) = bucket.list_objects(ROOT, folders=folders)
    assert (found.path, folders) == (f"{ROOT}/a.jpg", [f"{ROOT}/b/"])


def test_a_folder_as_the_console_makes_it_is_there(store):
    store.put("data/images/", b"")
    store.put("data/images/1.jpg", b"1")
    assert folder_exists("gs://data/images")
    assert [*list_files("gs://data/images")] == ["1.jpg"]


def test_a_thousand_objects_are_a_request(store):
    for number in range(2500):
        store.put(f"data/folder/{number}.jpg", b"1")
    assert len(list(list_files(ROOT))) == 2500
    assert store.asked == {"list": 3}


def test_all_threads_share_a_client_and_its_connections(store, monkeypatch):
    made, original = [], gcsio.create_storage_client
    monkeypatch.setattr(
        gcsio, "create_storage_client", lambda options: made.append(1) or original(options)
    )
    for number in range(40):
        store.put(f"data/folder/{number}.jpg", bytes([number]))
    together = threading.Barrier(8)

    def read(number):
        if number < 8:
            together.wait()
        return read_with_retries(ImageFolder(ROOT), f"{number}.jpg")

    with futures.ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read, range(40))) == [bytes([n]) for n in range(40)]
    assert len(made) == 1
    assert store.connections < 20


def test_a_forked_process_makes_its_own_client(store):
    write_file(ROOT, "a", b"1")
    here = bucket.client()
    receiving, sending = os.pipe()
    # As if another thread held it in the moment of the fork.
    with bucket._shared.lock:
        if not (child := os.fork()):
            try:
                is_new = bucket.client() is not here and read_file(ROOT, "a") == b"1"
                os.write(sending, b"new" if is_new else b"old")
            finally:
                os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiving, 3) == b"new"
    assert bucket.client() is here
    assert read_file(ROOT, "a") == b"1"


def test_what_may_not_be_read_says_what_to_do(store):
    write_file(ROOT, "a.jpg", b"1")
    store.refuses = lambda kind, name: 403
    message = r"gs://data/folder.*: .*refused: .* roles/storage\.objectViewer"
    before = store.asked["read"]
    for do in (
        lambda: read_with_retries(open_store(ROOT), "a.jpg"),
        lambda: file_exists(f"{ROOT}/a.jpg"),
        lambda: list(list_files(ROOT)),
        lambda: write_file(ROOT, "b", b"2"),
        lambda: open_file(f"{ROOT}/a.jpg"),
    ):
        with pytest.raises(UnavailableError, match=message):
            do()
    assert store.asked["read"] == before + 1, "what is forbidden is not asked for again"


def test_a_passing_error_is_no_missing_file(store, monkeypatch):
    write_file(ROOT, "a.jpg", b"1")
    answers = iter([503, 429, 0])
    store.refuses = lambda kind, name: next(answers)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert read_with_retries(open_store(ROOT), "a.jpg") == b"1"
    store.refuses = lambda kind, name: 0
    with pytest.raises(FileNotFoundError):
        read_with_retries(open_store(ROOT), "b.jpg")


def test_damage_on_the_way_is_noticed_and_read_again(store):
    write_file(ROOT, "a.jpg", b"right")
    store.damages = 1
    assert read_with_retries(open_store(ROOT), "a.jpg") == b"right"
    assert store.asked["read"] == 2


def test_a_range_ends_where_the_object_does(store):
    write_file(ROOT, "a", b"0123456789")
    assert bucket.read_range(f"{ROOT}/a", 2, 3) == b"234"
    assert bucket.read_range(f"{ROOT}/a", 8, 30) == b"89"
    assert bucket.read_range(f"{ROOT}/a", 10, 1) == b""
    assert bucket.read_range(f"{ROOT}/a", 3, 0) == b""
    with pytest.raises(FileNotFoundError):
        bucket.read_range(f"{ROOT}/b", 0, 1)


def test_a_bucket_alone_is_no_file(store):
    assert file_metadata("gs://data") is None
    with pytest.raises(FileNotFoundError, match="gs://data"):
        read_whole("gs://data")
