"""Several objects on their way at a time, each whole, none twice, and what that costs."""

import threading

import pytest
from google.api_core.exceptions import BadRequest

from components.storage import uploads
from components.storage.uploads import Uploads
from tests.fixtures.served_bucket import served_bucket


@pytest.fixture
def store(monkeypatch):
    with served_bucket(monkeypatch) as store:
        yield store


def test_several_at_a_time(store):
    together = threading.Barrier(4, timeout=60)
    store.refuses = lambda kind, name: together.wait() * 0 if kind == "write" else 0
    with Uploads("gs://data/out") as target:
        for number in range(4):
            target.write(f"a/{number}.jpg", bytes([number]))
    assert store.objects == {f"data/out/a/{n}.jpg": bytes([n]) for n in range(4)}
    # The folder is listed once.
    assert target.operations == store.class_a() == 5


def test_what_is_there_is_known_by_one_listing_of_its_folder(store):
    for number in range(1001):
        store.put(f"data/out/a/{number}.jpg", b"123")
    store.put("data/out/a/deep/x.jpg", b"1")
    with Uploads("gs://data/out") as target:
        assert target.has("a/7.jpg", b"123")
        assert not target.has("a/7.jpg", b"321")
        assert not target.has("a/none.jpg", b"123")
        assert target.has("a/deep/x.jpg", b"1")
        assert not target.has("top.jpg", b"")
    assert target.operations == store.asked["list"] == 2 + 1 + 1


def test_of_two_with_one_name_the_last_one_stays(store):
    with Uploads("gs://data/out") as target:
        for content in (b"1", b"22", b"333"):
            target.write("a.jpg", content)
            assert target.has("a.jpg", content)
    assert store.objects == {"data/out/a.jpg": b"333"}


def test_so_much_is_on_its_way_at_most(store, monkeypatch):
    monkeypatch.setattr(uploads, "_MOST_BYTES", 10)
    held = []
    with Uploads("gs://data/out") as target:
        for number in range(12):
            target.write(f"{number}.jpg", bytes(25 if number == 5 else 4))
            held.append(target._held)
    assert max(held[:5] + held[6:]) <= 10
    assert held[5] == 25
    assert len(store.objects) == 12


def test_a_refused_upload_is_raised(store):
    store.refuses = lambda kind, name: 400 if name.endswith("/3.jpg") else 0

    def write():
        with Uploads("gs://data/out") as target:
            for number in range(5):
                target.write(f"{number}.jpg", b"1")

    with pytest.raises(BadRequest):
        write()
