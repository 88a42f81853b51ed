"""The files in a folder, a bucket or an archive that commands look at: the same rules for all.

Each real folder once whatever links lead to it, without hidden ones and without the pictures that
`prediction.predict` writes; of a pattern what fits it, by the same rules.
"""

import collections
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from etils import epath

from pix2seq_model.data.path_pattern import PathPattern
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json, read_json
from pix2seq_model.regular_file import regular_status

# What `predict` writes first, and so into the folder of a run that was killed, too.
PREDICT_MARKER, MADE_BY = "predict.json", "pix2seq predict"
# A folder is told by these as well, where that file is gone.
_RESULTS = ("detections.json", "images.json")
# By which of its files a folder is told.
TELLING_NAMES = (PREDICT_MARKER, *_RESULTS)
PICTURE_NAMES = ("pictures", "attention", "videos", "contact_sheet.jpg")
# What systems and tools leave next to the data, in small letters; so do names with a dot first.
_HIDDEN = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")

HIDDEN = "hidden"
WRITTEN = "written by predict"
TWICE = "links to folders that were seen"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is for systems and tools, and not for people."""
    return name.startswith(".") or name.lower() in _HIDDEN


def is_hidden_path(path: str) -> bool:
    """Whether a relative path is that of a hidden file, or of one in a hidden folder."""
    return any(map(is_hidden, path.split("/")))


def walk_files(
    folder: str,
    *,
    output: str = "",
    pattern: PathPattern | None = None,
    left_out: collections.Counter[str] | None = None,
) -> Iterator[str]:
    """Yields the paths of the files in a folder and the folders in it, by name, files first.

    Folders elsewhere that links lead to come last, and none that the folder itself is in: a file
    that is in the folder has the name that it has there. What is no regular file is yielded too, a
    link that leads nowhere or a pipe: it cannot be read, which is said by its name when that is
    tried.

    Args:
      folder: local or gs://.
      output: folder that a command writes: its pictures are left out before it has written any.
      pattern: with this folder as its root: other files, and folders that it does not lead into,
        are neither yielded nor counted.
      left_out: counts what was, by the words above; a folder counts as one.

    Raises:
      OSError: a folder cannot be read.
    """
    left_out = collections.Counter() if left_out is None else left_out
    if "://" in folder:
        yield from _bucket_files(epath.Path(folder), "", _Rules(pattern, left_out, output))
        return
    output = os.path.realpath(output) if output else ""
    walk = _Walk(folder, _Rules(pattern, left_out, output))
    yield from walk.files_below(folder)
    while walk.links:
        yield from walk.files_below(walk.links.popleft())


def listed_files(
    names: Sequence[str],
    *,
    read: Callable[[str], bytes],
    place: str,
    output: str = "",
    pattern: PathPattern | None = None,
    left_out: collections.Counter[str] | None = None,
) -> Iterator[str]:
    """Yields of the files in an archive or a bucket, all listed at once, those to look at.

    Args:
      names: paths relative to the place, as the list has them; the result has the same order.
      read: returns the content of one of them; nothing if it is damaged.
      place: address of the archive or folder.
      output, pattern, left_out: see `walk_files`.
    """
    rules = _Rules(pattern, collections.Counter() if left_out is None else left_out, output)
    telling = collections.defaultdict[str, dict[str, str]](dict)
    for name in names:
        *folders, last = _parts(name)
        if last in TELLING_NAMES:
            telling["/".join(folders)][last] = name
    of_results = {folder for folder, found in telling.items() if _told_by(found, read)}
    # Folders of files, and those that are left out, which are counted once.
    looked_into = {"": True}

    def looks_at(folder: str, path: str, *, is_folder: bool) -> bool:
        if not rules.concern(path, is_folder=is_folder):
            return False
        is_output = bool(output) and f"{place}/{folder}".rstrip("/") == output.rstrip("/")
        return not rules.leave_out(path, is_of_results=is_output or folder in of_results)

    def looks_into(parts: list[str]) -> bool:
        if (whole := "/".join(parts)) not in looked_into:
            folder, looks = "", True
            # From the top on: an archive's names may be deeper than Python's calls.
            for part in parts:
                path = f"{folder}/{part}" if folder else part
                looks = looked_into.get(path, False) or (
                    path not in looked_into and looks_at(folder, path, is_folder=True)
                )
                if not looks:
                    looked_into[path] = False
                    break
                folder = path
            looked_into[whole] = looks
        return looked_into[whole]

    for name in names:
        *folders, last = _parts(name)
        folder = "/".join(folders)
        if looks_into(folders) and looks_at(
            folder, f"{folder}/{last}" if folder else last, is_folder=False
        ):
            yield name


def _parts(name: str) -> list[str]:
    """Folders and name of a file; the names in an archive may lead out of it."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return [part for part in parts if part not in ("/", "..")] or [""]


def _told_by(found: dict[str, str], read: Callable[[str], bytes]) -> bool:
    if all(name in found for name in _RESULTS):
        return True
    if PREDICT_MARKER not in found:
        return False
    content = read(found[PREDICT_MARKER])
    try:
        return _is_of_predict(
            parse_json(content, source=PREDICT_MARKER, fix="", kind=dict, surrogates=True)
        )
    except DataError:
        return False


def everything_below(folder: str) -> Iterator[str]:
    """Yields, relative to a local folder, all files and links in it and below, hidden ones too.

    No link is followed.
    """
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in names + links:
            yield PurePosixPath(os.path.relpath(os.path.join(root, name), folder)).as_posix()


class _Rules:
    """What is passed over, and counted.

    Attributes:
      output: folder that the command writes, see `walk_files`.
    """

    def __init__(
        self, pattern: PathPattern | None, left_out: collections.Counter[str], output: str
    ) -> None:
        self._pattern, self.left_out, self.output = pattern, left_out, output

    def concern(self, path: str, *, is_folder: bool) -> bool:
        """Whether something, by its path relative to the start, can be of the pattern."""
        if self._pattern is None:
            return True
        return self._pattern.leads_into(path) if is_folder else self._pattern.fits(path)

    def leave_out(self, path: str, *, is_of_results: bool) -> bool:
        """Whether a file or folder, by its path as above, is left out; counts it then."""
        name = path.rpartition("/")[2]
        why = WRITTEN * (is_of_results and name in PICTURE_NAMES)
        if is_hidden(name) and not (self._pattern and self._pattern.means_hidden(path)):
            why = HIDDEN
        if why:
            self.left_out[why] += 1
        return bool(why)


class _Walk:
    """What was seen, and the links to folders that are still to be followed."""

    def __init__(self, start: str, rules: _Rules) -> None:
        self.links: collections.deque[str] = collections.deque()
        self._rules = rules
        self._seen: set[tuple[int, int]] = set()
        self._around = _folders_around(start)
        self._start_length = len(os.path.join(start, ""))

    def files_below(self, start: str) -> Iterator[str]:
        folders = [start]  # The next one last; no call for each, as they may be deep.
        while folders:
            below: list[str] = []
            yield from self._files_in(folders.pop(), below)
            folders += reversed(below)

    def _files_in(self, folder: str, below: list[str]) -> Iterator[str]:
        """Yields the files in a folder; adds the folders in it to those below."""
        identity = _identity(os.stat(folder))
        if identity in self._seen or identity in self._around:
            self._rules.left_out[TWICE] += 1
            return
        self._seen.add(identity)
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        is_of_results = self._is_of_results(folder, {entry.name for entry in entries})
        for entry in entries:
            path, is_folder = entry.path, _is_folder(entry)
            relative = path[self._start_length :]
            if not self._rules.concern(relative, is_folder=is_folder):
                continue
            if self._rules.leave_out(relative, is_of_results=is_of_results):
                continue
            if not is_folder:
                yield path
            elif entry.is_symlink():
                self.links.append(path)
            else:
                below.append(path)

    def _is_of_results(self, folder: str, names: set[str]) -> bool:
        output = self._rules.output
        return (bool(output) and os.path.realpath(folder) == output) or _holds_results(
            epath.Path(folder), names
        )


def _bucket_files(folder: epath.Path, start: str, rules: _Rules) -> Iterator[str]:
    """`walk_files` of a folder in a bucket; `start` precedes its names in the relative paths."""
    # By hand, because epath refuses to search subfolders.
    entries = sorted(folder.iterdir())
    is_output = os.fspath(folder).rstrip("/") == rules.output.rstrip("/")
    is_of_results = is_output or _holds_results(folder, {entry.name for entry in entries})
    below = []
    for entry in entries:
        path = f"{start}{entry.name}"
        # Whether it is a folder takes a request.
        if not any(rules.concern(path, is_folder=either) for either in (False, True)):
            continue
        is_folder = entry.is_dir()
        if not rules.concern(path, is_folder=is_folder):
            continue
        if rules.leave_out(path, is_of_results=is_of_results):
            continue
        if is_folder:
            below.append((entry, f"{path}/"))
        else:
            yield os.fspath(entry)
    for entry, path in below:
        yield from _bucket_files(entry, path, rules)


def _holds_results(folder: epath.Path, names: set[str]) -> bool:
    if all(name in names for name in _RESULTS):
        return True
    return PREDICT_MARKER in names and predict_marker(folder) is not None


def predict_marker(folder: epath.Path) -> dict[str, Any] | None:
    """What `predict` noted in a folder of its results; None if it did not write there."""
    path = folder / PREDICT_MARKER
    try:
        if "://" not in os.fspath(path) and regular_status(path) is None:
            return None
        found = read_json(path, fix="", kind=dict, surrogates=True)
    except (OSError, DataError):
        return None
    return found if _is_of_predict(found) else None


def _is_of_predict(marker: dict[str, Any]) -> bool:
    return marker.get("made_by") == MADE_BY


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
