"""The files in a local folder that commands look at: one walk for all of them.

Each real folder once whatever links lead to it, without hidden ones and without the pictures that
`prediction.predict` writes.
"""

import collections
import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from pix2seq_model.errors import DataError
from pix2seq_model.json_file import read_json
from pix2seq_model.regular_file import regular_status

# What `predict` writes first, and so into the folder of a run that was killed, too.
PREDICT_MARKER, MADE_BY = "predict.json", "pix2seq predict"
# A folder is told by these as well, where that file is gone.
_RESULTS = ("detections.json", "images.json")
PICTURE_NAMES = ("pictures", "attention", "videos", "contact_sheet.jpg")
# What systems and tools leave next to the data, in small letters; so do names with a dot first.
_HIDDEN = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")

HIDDEN = "hidden"
WRITTEN = "written by predict"
TWICE = "links to folders that were seen"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is for systems and tools, and not for people."""
    return name.startswith(".") or name.lower() in _HIDDEN


def walk_files(
    folder: str, *, output: str = "", left_out: collections.Counter[str] | None = None
) -> Iterator[str]:
    """Yields the paths of the files in a folder and the folders in it, by name, files first.

    Folders elsewhere that links lead to come last, and none that the folder itself is in: a file
    that is in the folder has the name that it has there. What is no regular file is yielded too, a
    link that leads nowhere or a pipe: it cannot be read, which is said by its name when that is
    tried.

    Args:
      folder: local.
      output: folder that a command writes: its pictures are left out before it has written any.
      left_out: counts what was, by the words above; a folder counts as one.

    Raises:
      OSError: a folder cannot be read.
    """
    walk = _Walk(folder, os.path.realpath(output) if output else "", left_out)
    yield from walk.files_below(folder)
    while walk.links:
        yield from walk.files_below(walk.links.popleft())


class _Walk:
    """What was seen, and the links to folders that are still to be followed."""

    def __init__(self, start: str, output: str, left_out: collections.Counter[str] | None) -> None:
        self.links: collections.deque[str] = collections.deque()
        self._output = output
        self._left_out = collections.Counter() if left_out is None else left_out
        self._seen: set[tuple[int, int]] = set()
        self._around = _folders_around(start)

    def files_below(self, folder: str) -> Iterator[str]:
        identity = _identity(os.stat(folder))
        if identity in self._seen or identity in self._around:
            self._left_out[TWICE] += 1
            return
        self._seen.add(identity)
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        below = []
        is_of_results = self._is_of_results(folder, {entry.name for entry in entries})
        for entry in entries:
            name, path = entry.name, entry.path
            if is_hidden(name):
                self._left_out[HIDDEN] += 1
            elif is_of_results and name in PICTURE_NAMES:
                self._left_out[WRITTEN] += 1
            elif not _is_folder(entry):
                yield path
            elif entry.is_symlink():
                self.links.append(path)
            else:
                below.append(path)
        for path in below:
            yield from self.files_below(path)

    def _is_of_results(self, folder: str, names: set[str]) -> bool:
        if all(name in names for name in _RESULTS) or os.path.realpath(folder) == self._output:
            return True
        return PREDICT_MARKER in names and predict_marker(epath.Path(folder)) is not None


def predict_marker(folder: epath.Path) -> dict[str, Any] | None:
    """What `predict` noted in a folder of its results; None if it did not write there."""
    path = folder / PREDICT_MARKER
    try:
        if "://" not in os.fspath(path) and regular_status(path) is None:
            return None
        found = read_json(path, fix="", kind=dict, surrogates=True)
    except (OSError, DataError):
        return None
    return found if found.get("made_by") == MADE_BY else None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # `DirEntry.is_dir` raises for a link to itself, `isdir` asks the disk for each file once more.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _folders_around(start: str) -> set[tuple[int, int]]:
    """All that the folder is in, up to the root."""
    path, around = os.path.realpath(start), set()
    while (parent := os.path.dirname(path)) != path:
        path = parent
        around.add(_identity(os.stat(path)))
    return around


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
