"""The files in a local folder that commands look at for images: one walk for all of them.

Each real folder once whatever links lead to it, without hidden ones and without the pictures that
`prediction.predict` writes.
"""

import collections
import os
import stat
from collections.abc import Iterator

# In a folder of this command's results, which the first two tell it by.
_RESULTS = ("detections.json", "images.json")
PICTURE_NAMES = ("pictures", "attention", "videos", "contact_sheet.jpg")
# What systems and tools leave beside the data; so do names that begin with a dot.
_HIDDEN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")

HIDDEN = "hidden"
WRITTEN = "written by predict"
TWICE = "links to folders that were seen"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is for systems and tools, and not for people."""
    return name.startswith(".") or name in _HIDDEN


def walk_files(
    folder: str, *, output: str = "", left_out: collections.Counter[str]
) -> Iterator[str]:
    """Yields the paths of the files in a folder and the folders in it, by name, files first.

    What is no regular file is yielded too, a link that leads nowhere or a pipe: its image cannot be
    read, which is said by its name when that is tried.

    Args:
      folder: local.
      output: folder that a command writes: its pictures are left out before it has written any.
      left_out: counts what was, by the words above; a folder counts as one.

    Raises:
      OSError: a folder cannot be read.
    """
    yield from _walk(folder, os.path.realpath(output) if output else "", left_out, seen=set())


def _walk(
    folder: str, output: str, left_out: collections.Counter[str], *, seen: set[tuple[int, int]]
) -> Iterator[str]:
    status = os.stat(folder)
    seen.add((status.st_dev, status.st_ino))
    names = sorted(os.listdir(folder))
    is_of_results = all(name in names for name in _RESULTS) or os.path.realpath(folder) == output
    below = []
    for name in names:
        path = os.path.join(folder, name)
        if is_hidden(name):
            left_out[HIDDEN] += 1
            continue
        if is_of_results and name in PICTURE_NAMES:
            left_out[WRITTEN] += 1
            continue
        try:
            status = os.stat(path)
        except OSError:
            yield path
            continue
        if stat.S_ISDIR(status.st_mode):
            below.append((path, (status.st_dev, status.st_ino)))
        else:
            yield path
    for path, identity in below:
        if identity in seen:
            left_out[TWICE] += 1
        else:
            yield from _walk(path, output, left_out, seen=seen)
