"""The progress of a job that writes shards, from the notes that its workers leave next to them."""

import contextlib
import threading
import time
from typing import Any

from apache_beam.io.filesystems import FileSystems

from components.storage.files import PLAN, read_file
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json
from pix2seq_model.progress import LiveLine, duration_text

_LOCAL_SECONDS, _REMOTE_SECONDS = 0.5, 5.0
_LINES_IN_A_LOG = 10


class ShardBar:
    """Shows, inside a `with` block, how many shards are complete; works with every runner.

    Before the annotations are read nobody knows how many there will be; until then the bar says
    so and counts the time. Without a terminal, a few lines are written instead.
    """

    def __init__(
        self, output: str, *, waiting: str = "reading annotations", working: str = "writing records"
    ):
        """
        Args:
          output: folder of the job, with `progress/plan.json` as soon as that is known.
          waiting, working: what is done before and after the number of shards is known.
        """
        self._waiting, self._working = waiting, working
        self._output = output.rstrip("/")
        self._line = LiveLine()
        self._logged = -1
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ShardBar":
        self._thread.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if error_type is None:
            self._look()
        self._line.close()

    def _watch(self) -> None:
        seconds = _REMOTE_SECONDS if "://" in self._output else _LOCAL_SECONDS
        while not self._stop.wait(seconds):
            self._look()

    def _look(self) -> None:
        plan = self._plan()
        if not plan or plan["problem"]:
            self._show(self._waiting, tenth=-1)
            return
        counts = {split: planned["num_shards"] for split, planned in plan["splits"].items()}
        found = FileSystems.match(
            [f"{self._output}/progress/{split}-*-of-{n:05d}.json" for split, n in counts.items()]
        )
        done, total = sum(len(match.metadata_list) for match in found), sum(counts.values())
        text = f"{self._working}: {done} of {total} shards"
        self._show(text, tenth=done * _LINES_IN_A_LOG // total)

    def _plan(self) -> dict[str, Any]:
        """Nothing while it is not there, or cannot be read: the job says what is wrong with it."""
        text = read_file(self._output, PLAN) or b"{}"
        with contextlib.suppress(DataError):
            return parse_json(text, source=PLAN, fix="", kind=dict)
        return {}

    def _show(self, text: str, *, tenth: int) -> None:
        if self._line.is_live:
            self._line.show(f"{text}  {duration_text(time.monotonic() - self._start)}")
        elif tenth > self._logged:
            self._logged = tenth
            self._line.show(text)
