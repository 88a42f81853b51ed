"""A service that keeps the curves of many runs, such as MLflow, fed while training goes on.

Whatever it does, it never stops or slows a training: it is called on a thread of its own, what
fails is said once and tried again with the next row, and the end waits for it for a limited time.
"""

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import read_json

# In the work folder of a training: its run in each tracker, and the step up to which that has all
# rows, {"mlflow": {"run_id": "0123abcd", "step": 400}, ...}.
TRACKED_RUNS_FILE = "tracked_runs.json"
# Between two notes of that step: rows since the last one are handed over twice after a kill.
_NOTE_S = 60.0
FINISHED, INTERRUPTED, FAILED = "finished", "interrupted", "failed"
# For which the end of a training waits, for all trackers together. One that was asked to stop is
# killed soon; what is not sent by then is sent when it continues.
_CLOSE_S = {FINISHED: 60.0, FAILED: 60.0, INTERRUPTED: 5.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a tracker is told of a run before its first row.

    Attributes:
      project: that it belongs to; MLflow calls it an experiment.
      name: for people.
      parameters: its settings, as flat names and JSON values.
      tags: what it is otherwise known by.
      folder: local, for files of the tracker's own; None where there is none.
    """

    project: str
    name: str
    parameters: Mapping[str, Any]
    tags: Mapping[str, str]
    folder: str | None = None


class Tracker(Protocol):
    """What is asked of a service; any call may fail, and may take minutes.

    Attributes:
      name: as `logging.loggers` has it.
      extra: of this project's installation that brings its package.
    """

    name: str
    extra: str

    def open(self, run: TrackedRun, run_id: str | None) -> str:
        """Begins a run, or continues the one of an id; returns the id of the run that it feeds."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes in the values after a step."""

    def close(self, outcome: str) -> None:
        """Ends it, as `FINISHED`, `INTERRUPTED` or `FAILED`."""


@dataclasses.dataclass(frozen=True)
class _Row:
    step: int
    values: Mapping[str, float]
    # Of an earlier call of this training: for runs that do not have it yet.
    is_earlier: bool = False


@dataclasses.dataclass(frozen=True)
class _Noted:
    """The run of a training in a tracker.

    Attributes:
      run_id: its id.
      step: up to which it has all rows; None where that is not known.
    """

    run_id: str
    step: int | None = None

    @classmethod
    def of(cls, value: Any) -> "_Noted | None":
        """What a note says; None where it says nothing that can be used."""
        if isinstance(value, str):  # As it was noted once, without a step.
            value = {"run_id": value}
        if not isinstance(value, dict):
            return None
        run_id, step = value.get("run_id"), value.get("step")
        if not isinstance(run_id, str) or not run_id:
            return None
        return cls(run_id, step if type(step) is int else None)


class BackgroundTracker:
    """A tracker that gets its rows on a thread of its own, so that nobody waits for it.

    Rows that it could not take wait for the next one, and go first then.
    """

    def __init__(
        self,
        tracker: Tracker,
        run: TrackedRun,
        *,
        work_dir: epath.PathLike,
        warn: Callable[[str], None],
        note_s: float = _NOTE_S,
    ) -> None:
        """
        Args:
          tracker: that is fed.
          run: what it is told of the run.
          work_dir: of the training, where the id of its run is kept, and what it has.
          warn: is told, on the caller's thread and once, what went wrong.
          note_s: seconds between two notes of what it has.
        """
        self._tracker, self._run, self._warn = tracker, run, warn
        self._note_s, self._noted_at = note_s, time.monotonic()
        self._file = epath.Path(work_dir) / TRACKED_RUNS_FILE
        self._queue: queue.SimpleQueue[_Row | str] = queue.SimpleQueue()
        self._waiting: list[_Row] = []
        self._is_open = self._is_missing = self._is_warned = False
        self._run_id = ""
        # All rows up to the first are delivered; of the second's, some.
        self._complete_step: int | None = None
        self._last_step: int | None = None
        self._problem = ""
        self._thread = threading.Thread(target=self._work, name=tracker.name, daemon=True)
        self._thread.start()

    def history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Hands over rows of before, each with its "step"; a run takes those that it lacks."""
        for row in rows:
            values = {name: value for name, value in row.items() if name != "step"}
            self._queue.put(_Row(int(row["step"]), values, is_earlier=True))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Hands over the values after a step."""
        self._queue.put(_Row(step, dict(values)))
        self._say()

    def end(self, outcome: str) -> None:
        """Asks for the end of the run, which comes after what is under way."""
        self._queue.put(outcome)

    def wait(self, seconds: float) -> None:
        """Waits for that end, but no longer than so many seconds."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._problem = self._problem or "no answer in time at the end"
        self._say()

    def _work(self) -> None:
        while not isinstance(item := self._queue.get(), str):
            self._waiting.append(item)
            self._try(self._send)
        self._try(self._send)
        if self._is_open:
            if not self._waiting:
                self._is_complete_to(self._last_step)
            self._try(self._note)
            self._try(lambda: self._tracker.close(item))

    def _try(self, action: Callable[[], None]) -> None:
        if self._is_missing:
            return
        try:
            action()
        except ImportError as error:
            self._is_missing = True
            self._problem = self._problem or (
                f"the package {error.name} cannot be imported ({error}): pip install "
                f"'.[{self._tracker.extra}]' in this project's folder"
            )
        except BaseException as error:  # W&B leaves by SystemExit where nobody is logged in.
            first_line = str(error).strip().partition("\n")[0]
            self._problem = self._problem or f"{type(error).__name__}: {first_line}"

    def _send(self) -> None:
        if not self._is_open:
            if not self._waiting:
                return
            noted = _read_runs(self._file).get(self._tracker.name)
            self._run_id = self._tracker.open(self._run, noted.run_id if noted else None)
            self._is_open = True
            if noted and noted.run_id == self._run_id:
                self._complete_step = noted.step
            self._note()
        while self._waiting:
            row, has = self._waiting[0], self._complete_step
            if not (row.is_earlier and has is not None and row.step <= has):
                self._tracker.scalars(row.step, row.values)
                if self._last_step is not None and row.step > self._last_step:
                    # A step may have a second row, with what was measured after it.
                    self._is_complete_to(self._last_step)
                self._last_step = row.step
            self._waiting.pop(0)
        if time.monotonic() - self._noted_at >= self._note_s:
            self._note()

    def _is_complete_to(self, step: int | None) -> None:
        # Steps that are trained a second time do not take away what there is.
        steps = [known for known in (step, self._complete_step) if known is not None]
        self._complete_step = max(steps, default=None)

    def _note(self) -> None:
        # Here, so that a folder that cannot be written is not tried again with every row.
        self._noted_at = time.monotonic()
        noted = _Noted(self._run_id, self._complete_step)
        # Read again: the other trackers note theirs at the same time.
        with _NOTING:
            runs = {**_read_runs(self._file), self._tracker.name: noted}
            write_json(self._file, {name: dataclasses.asdict(run) for name, run in runs.items()})

    def _say(self) -> None:
        if self._problem and not self._is_warned:
            self._is_warned = True
            self._warn(
                f"warning: {self._tracker.name} does not log all of this training "
                f"({self._problem}); the training goes on"
            )


def close_trackers(
    trackers: Sequence[BackgroundTracker],
    outcome: str,
    *,
    within_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Ends the runs of all, waiting for them together, and not for long.

    Args:
      trackers: that were fed.
      outcome: `FINISHED`, `INTERRUPTED` or `FAILED`.
      within_s: seconds for all of them; None: a minute, or a moment after an interruption.
      clock: seconds, for tests.
    """
    deadline = clock() + (_CLOSE_S[outcome] if within_s is None else within_s)
    for tracker in trackers:
        tracker.end(outcome)
    for tracker in trackers:
        tracker.wait(max(0.0, deadline - clock()))


_NOTING = threading.Lock()


def _read_runs(path: epath.Path) -> dict[str, _Noted]:
    """The runs noted; what is damaged of it is left out, and written again."""
    try:
        values = read_json(path, fix="it is written again", kind=dict)
    except (OSError, DataError):
        return {}
    return {name: noted for name, value in values.items() if (noted := _Noted.of(value))}
