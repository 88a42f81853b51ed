"""Items are read ahead in threads: in order, and never too many or too much at a time."""

import threading

import pytest

from components.storage import shards
from components.storage.shards import ShardOwner


@pytest.fixture(params=[False, True])
def owner(request):
    owner = ShardOwner("out", in_bucket=request.param)
    owner.setup()
    yield owner
    owner.teardown()


def test_as_many_as_there_are_threads_at_a_time_and_in_order(owner):
    number = owner._num_threads
    together = threading.Barrier(number, timeout=60)
    found = owner.read_ahead(lambda item: together.wait() and item, range(2 * number), most=64)
    assert [item for item, _ in found] == list(range(2 * number))


def test_so_much_is_held_at_most(owner, monkeypatch):
    monkeypatch.setattr(shards, "_MOST_BYTES", 10)
    sizes, begun = (4, 4, 4, 30, 1, 1, 1, 1, 9), []
    submit = owner._threads.submit
    monkeypatch.setattr(
        owner._threads, "submit", lambda read, size: begun.append(size) or submit(read, size)
    )
    found, held = [], []
    for size, future in owner.read_ahead(abs, sizes, most=3, size=lambda size: size):
        held.append(begun[len(found) :])
        found.append(future.result())
        assert found[-1] == size
    assert found == [*sizes]
    assert [30] in held, "a larger one is alone"
    assert all(sum(some) <= 10 for some in held if some != [30])
    assert max(map(len, held)) == 3
