"""An input that hangs is reported."""

import time
import types

from pix2seq_model.training.stall_watch import StallWatch


def _watch(model, *, seconds):
    said = []
    with StallWatch(model, "split 'train' of /data", say=said.append, patience_s=0.05):
        time.sleep(seconds)
    return said


def test_a_wait_is_told_with_what_is_waited_for_and_ever_more_rarely():
    said = _watch(types.SimpleNamespace(waiting_since=time.monotonic()), seconds=1.0)
    assert 2 <= len(said) <= 6  # about 0.05, 0.1, 0.2, 0.4, 0.8 seconds
    assert "next batch from split 'train' of /data" in said[0]


def test_nothing_is_said_while_steps_are_computed():
    assert _watch(types.SimpleNamespace(waiting_since=None), seconds=0.3) == []
