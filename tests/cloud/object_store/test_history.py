"""What counts as seen half-written."""

import re

import pytest

from tests.cloud.object_store.history import History

NOTHING = re.compile("$^")
SHARD, MANIFEST = "run/examples/Split-train/examples-0", "run/examples/dataset_info.json"


class States:
    """A bucket that is in another state each time it is looked at."""

    def __init__(self, states):
        self._states = iter(states)

    def digests(self, prefix):
        return next(self._states)


def half_written(*states, rewritten=NOTHING):
    history = History(States(states), "run/")
    for _ in states:
        history.note()
    assert history.states == len(states)
    return history.half_written(rewritten=rewritten)


def test_files_that_appear_whole_and_in_order():
    assert not half_written(
        {"run/examples/progress/tmp-1": "a"},
        {"run/examples/progress/tmp-1": "b", SHARD: "1"},
        {SHARD: "1", "run/work/lock": "a"},
        {SHARD: "1", "run/work/lock": "b", MANIFEST: "2"},
        rewritten=re.compile("^work/"),
    )
    assert not half_written({"run/.model.json.partial": "a"}, {"run/.model.json.partial": "b"})


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([{SHARD: "half"}, {SHARD: "whole"}], "Split-train/examples-0 had 2 contents"),
        ([{MANIFEST: "2"}, {MANIFEST: "2", SHARD: "1"}], "dataset_info.json without"),
        (
            [
                {"run/served/7/saved_model.pb": "1"},
                {"run/served/7/saved_model.pb": "1", "run/served/7/variables/index": "2"},
            ],
            "served/7/saved_model.pb without",
        ),
        (
            [
                {"run/served/7/pushed.json": "1"},
                {"run/served/7/pushed.json": "1", "run/served/7/saved_model.pb": "2"},
            ],
            "served/7/pushed.json without",
        ),
    ],
)
def test_what_is_found(states, said):
    (found,) = half_written(*states)
    assert said in found
