"""Detections kept while they are made, so that an interrupted job loses minutes, not hours."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import MOST_LABEL_BYTES, read_json

_FLUSH_SECONDS = 20.0  # at most so much work is lost
_FIX = "detection is done again from its first image on"


def fingerprint_of(**parts: Any) -> str:
    """SHA-256 of JSON-like values: equal where everything that decides the detections is equal."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class DetectionStore:
    """Files `part-<first image>.json` in a folder of their own, each whole or not there at all."""

    def __init__(
        self, folder: epath.PathLike, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
          folder: of this job alone; its name should hold the job's fingerprint.
          clock: seconds, for tests.
        """
        self._folder = epath.Path(folder)
        self._clock = clock
        self._flushed_at = clock()
        self._stored = 0
        self._rows: list[dict[str, Any]] = []
        self._image_ids: list[str] = []

    def load(self) -> tuple[list[dict[str, Any]], list[str]]:
        """What was stored without a gap from the first image on: COCO rows, image ids.

        A damaged file counts as a gap, and is named on stderr: from there on the work is done
        again.
        """
        rows: list[dict[str, Any]] = []
        image_ids: list[str] = []
        while (path := self._path(len(image_ids))).exists():
            try:
                part = read_json(path, fix=_FIX, kind=dict, most_bytes=MOST_LABEL_BYTES)
            except DataError as error:
                print(error, file=sys.stderr, flush=True)
                break
            new_rows, new_ids = part.get("rows"), part.get("image_ids")
            # A part without an image would be the next one for ever.
            if not (isinstance(new_rows, list) and isinstance(new_ids, list) and new_ids):
                print(
                    f"{os.fspath(path)} is damaged (it lacks its lists of rows and image_ids); "
                    f"{_FIX}",
                    file=sys.stderr,
                    flush=True,
                )
                break
            rows += new_rows
            image_ids += new_ids
        self._stored = len(image_ids)
        return rows, image_ids

    def add(self, rows: list[dict[str, Any]], image_ids: list[str]) -> None:
        """Adds the detections of some images, those without any among them."""
        self._rows += rows
        self._image_ids += image_ids
        if self._clock() - self._flushed_at >= _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was added since the last time."""
        self._flushed_at = self._clock()
        if not self._image_ids:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        part = {"image_ids": self._image_ids, "rows": self._rows}
        write_json(self._path(self._stored), part)
        self._stored += len(self._image_ids)
        self._rows, self._image_ids = [], []

    def clear(self) -> None:
        """Removes the folder, and the one around it if nothing else is in it."""
        if self._folder.exists():
            self._folder.rmtree()
        parent = self._folder.parent
        if parent.exists() and not any(parent.iterdir()):
            parent.rmdir()

    def _path(self, first: int) -> epath.Path:
        return self._folder / f"part-{first:09d}.json"
