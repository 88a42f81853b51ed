"""Nothing that a tracker does stops a training; what it missed it is given again."""

import json
import threading

import pytest

from pix2seq_model.training.tracker import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    TRACKED_RUNS_FILE,
    BackgroundTracker,
    TrackedRun,
    close_trackers,
)

RUN = TrackedRun(project="pix2seq", name="demo", parameters={}, tags={})


class Recorder:
    """Keeps what it is given, under ids "a", "b" ...; raises the given errors first."""

    name, extra = "recorder", "recording"

    def __init__(self, *, errors=(), known=()):
        self.rows, self.opened, self.outcome = [], [], None
        self._errors, self._known = list(errors), known

    def open(self, run, run_id):
        self._fail()
        self.opened.append(run_id)
        return run_id if run_id in self._known else "new"

    def scalars(self, step, values):
        self._fail()
        self.rows.append((step, dict(values)))

    def close(self, outcome):
        self.outcome = outcome

    def _fail(self):
        if self._errors and (error := self._errors.pop(0)):
            raise error


def feed(tracker, work_dir, rows, *, history=(), close_s=10.0):
    """A whole run; returns what was said."""
    said = []
    fed = BackgroundTracker(tracker, RUN, work_dir=work_dir, warn=said.append)
    fed.history([{"step": step, "loss": loss} for step, loss in history])
    for step, loss in rows:
        fed.scalars(step, {"loss": loss})
    close_trackers([fed], FINISHED, within_s=close_s)
    return said


def noted(work_dir):
    return json.loads((work_dir / TRACKED_RUNS_FILE).read_text())


def test_rows_come_in_their_order_and_the_run_ends(tmp_path):
    tracker = Recorder()
    assert feed(tracker, tmp_path, [(1, 5.0), (2, 4.0)]) == []
    assert tracker.rows == [(1, {"loss": 5.0}), (2, {"loss": 4.0})]
    assert tracker.outcome == "finished"
    assert noted(tmp_path) == {"recorder": {"run_id": "new", "step": 2}}


def test_a_continued_run_is_not_given_its_history_again(tmp_path):
    feed(Recorder(), tmp_path, [(1, 5.0)])
    tracker = Recorder(known=("new",))
    feed(tracker, tmp_path, [(2, 4.0)], history=[(1, 5.0)])
    assert tracker.opened == ["new"]
    assert [step for step, _ in tracker.rows] == [2]


def test_a_run_that_is_new_is_given_the_history(tmp_path):
    (tmp_path / TRACKED_RUNS_FILE).write_text('{"recorder": "deleted", "other": "kept"}')
    tracker = Recorder()
    feed(tracker, tmp_path, [(2, 4.0)], history=[(1, 5.0)])
    assert tracker.opened == ["deleted"]
    assert tracker.rows == [(1, {"loss": 5.0}), (2, {"loss": 4.0})]
    assert noted(tmp_path) == {
        "recorder": {"run_id": "new", "step": 2},
        "other": {"run_id": "kept", "step": None},
    }


@pytest.mark.parametrize("error", [ConnectionError("no route\nto host"), SystemExit("log in")])
@pytest.mark.parametrize("when", [0, 1, 2])
def test_what_fails_is_said_once_and_sent_again(tmp_path, error, when):
    errors = [None] * when + [error, error]
    tracker = Recorder(errors=errors)
    (warning,) = feed(tracker, tmp_path, [(step, 0.5) for step in (1, 2, 3, 4)])
    assert "recorder does not log all of this training" in warning
    assert type(error).__name__ in warning
    assert "\n" not in warning
    assert [step for step, _ in tracker.rows] == [1, 2, 3, 4]


def test_rows_that_were_not_delivered_come_when_it_continues(tmp_path):
    rows = [(step, 0.5) for step in (1, 2, 3, 4)]
    first = Recorder(errors=[None, None, None, *[ConnectionError("gone")] * 9])
    assert len(feed(first, tmp_path, rows)) == 1
    assert [step for step, _ in first.rows] == [1, 2]
    tracker = Recorder(known=("new",))
    feed(tracker, tmp_path, [(5, 0.5)], history=rows)
    delivered = {step for step, _ in (*first.rows, *tracker.rows)}
    assert delivered == {1, 2, 3, 4, 5}
    # One of a step may have been only the first of two, so it is sent twice; nothing else is.
    assert [step for step, _ in tracker.rows] == [2, 3, 4, 5]
    assert noted(tmp_path)["recorder"]["step"] == 5


def test_what_is_delivered_is_noted_on_the_way(tmp_path):
    """For a training that is killed, and closes nothing."""
    delivered, noting = threading.Semaphore(0), Recorder()
    original = noting.scalars

    def scalars(step, values):
        original(step, values)
        delivered.release()

    noting.scalars = scalars
    fed = BackgroundTracker(noting, RUN, work_dir=tmp_path, warn=print, note_s=0)
    for step in (1, 2, 3):
        fed.scalars(step, {"loss": 0.5})
        delivered.acquire()
    # The note of the second row is written before the third is taken.
    assert noted(tmp_path)["recorder"]["run_id"] == "new"
    assert noted(tmp_path)["recorder"]["step"] >= 1
    close_trackers([fed], INTERRUPTED)


def test_a_row_that_a_training_makes_again_takes_nothing_from_the_note(tmp_path):
    feed(Recorder(), tmp_path, [(1, 0.5), (2, 0.5), (3, 0.5)])
    tracker = Recorder(known=("new",))
    feed(tracker, tmp_path, [(2, 0.5)], history=[(1, 0.5)])
    assert [step for step, _ in tracker.rows] == [2]
    assert noted(tmp_path)["recorder"]["step"] == 3


def test_a_missing_package_names_its_extra(tmp_path):
    error = ModuleNotFoundError("No module named 'recorder'", name="recorder")
    tracker = Recorder(errors=[error])
    (warning,) = feed(tracker, tmp_path, [(1, 5.0), (2, 4.0)])
    assert "pip install '.[recording]'" in warning
    assert tracker.rows == []


def test_a_damaged_note_is_written_again(tmp_path):
    (tmp_path / TRACKED_RUNS_FILE).write_text("[")
    assert feed(Recorder(), tmp_path, [(1, 5.0)]) == []
    assert noted(tmp_path) == {"recorder": {"run_id": "new", "step": 1}}


@pytest.mark.parametrize("value", [5, None, "", [], {}, {"run_id": 5}, {"run_id": "", "step": 1}])
def test_a_note_that_is_no_run_is_not_believed(tmp_path, value):
    note = {"recorder": value, "other": value, "kept": {"run_id": "a", "step": 1}}
    (tmp_path / TRACKED_RUNS_FILE).write_text(json.dumps(note))
    tracker = Recorder()
    assert feed(tracker, tmp_path, [(2, 4.0)], history=[(1, 5.0)]) == []
    assert tracker.opened == [None]
    assert [step for step, _ in tracker.rows] == [1, 2]
    assert noted(tmp_path) == {
        "recorder": {"run_id": "new", "step": 2},
        "kept": {"run_id": "a", "step": 1},
    }


@pytest.mark.parametrize("step", ["1", 1.5, True, None])
def test_a_step_that_is_none_skips_no_row(tmp_path, step):
    note = {"recorder": {"run_id": "new", "step": step}}
    (tmp_path / TRACKED_RUNS_FILE).write_text(json.dumps(note))
    tracker = Recorder(known=("new",))
    feed(tracker, tmp_path, [(2, 4.0)], history=[(1, 5.0)])
    assert tracker.opened == ["new"]
    assert [step for step, _ in tracker.rows] == [1, 2]


def test_one_that_hangs_does_not_hold_the_training(tmp_path):
    released = threading.Event()
    tracker = Recorder()
    tracker.open = lambda run, run_id: released.wait() and "new"
    try:
        (warning,) = feed(tracker, tmp_path, [(1, 5.0)], close_s=0.01)
        assert "no answer in time" in warning
    finally:
        released.set()


@pytest.mark.parametrize(("outcome", "seconds"), [(FINISHED, 60), (FAILED, 60), (INTERRUPTED, 5)])
def test_all_that_hang_are_waited_for_together(tmp_path, monkeypatch, outcome, seconds):
    now, said, asked = [100.0], [], []

    class Hanging:
        """A thread that does not end: to wait for it takes all the time there is."""

        def __init__(self, **_):
            pass

        def start(self):
            pass

        def join(self, seconds):
            asked.append(seconds)
            now[0] += seconds

        def is_alive(self):
            return True

    monkeypatch.setattr(threading, "Thread", Hanging)
    fed = [
        BackgroundTracker(Recorder(), RUN, work_dir=tmp_path, warn=said.append) for _ in range(3)
    ]
    close_trackers(fed, outcome, clock=lambda: now[0])
    assert asked == [seconds, 0, 0]
    assert len(said) == 3
