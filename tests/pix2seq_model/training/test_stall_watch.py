"""An input that hangs is reported."""

import threading
import types

from pix2seq_model.training.stall_watch import StallWatch


def _said(waiting_since, looks):
    """What is said by looks at some seconds, with a patience of 60."""
    said, clock = [], iter(looks)
    feed = types.SimpleNamespace(waiting_since=waiting_since)
    watch = StallWatch(
        feed, "split 'train' of /data", say=said.append, patience_s=60, clock=lambda: next(clock)
    )
    for _ in looks:
        watch.look()
    return said


def test_a_wait_is_told_with_what_is_waited_for_and_ever_more_rarely():
    said = _said(100.0, [130.0, 159.0, 160.0, 165.0, 215.0, 220.0, 300.0, 340.0, 341.0])
    assert [text.partition(" s ")[0] for text in said] == [
        f"training has waited {seconds}" for seconds in (60, 120, 240)
    ]
    assert "next batch from split 'train' of /data" in said[0]


def test_nothing_is_said_while_steps_are_computed():
    assert _said(None, [1000.0]) == []


def test_the_thread_looks_by_itself():
    said = threading.Event()
    feed = types.SimpleNamespace(waiting_since=0.0)
    with StallWatch(feed, "", say=lambda _: said.set(), patience_s=0.01, clock=lambda: 1.0):
        assert said.wait(60)
