"""How much memory the images that this process decodes may take at a time.

A file of some kilobytes may hold a hundred million pixels, and several are decoded at a time: by a
conversion, by prediction, by the page. Each asks here for what it needs and waits until that is
free; an image that needs more than the budget is decoded alone, and one that the machine cannot
hold is refused before it is.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from pix2seq_model.errors import UnavailableError

# Of the memory of a processor core: a machine has as many workers as cores, or one of many threads.
_SHARE_OF_CORE = 0.5
# Of the machine's, for one image that is decoded alone.
_MOST_OF_MACHINE = 0.8
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


class PixelBudget:
    """Bytes that are handed out in the order in which they are asked for.

    Args:
      total: bytes in use at a time, by more than one.
      most: bytes that one may have, alone.
    """

    def __init__(self, *, total: int, most: int) -> None:
        self.total, self.most = total, most
        self._held = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Waits until `size` bytes are free, or nothing else is in use, and has them in the block.

        Raises:
          UnavailableError: it is more than one may have.
        """
        if not size:  # Waits for nobody.
            yield
            return
        if size > self.most:
            raise UnavailableError(
                f"it takes {size / 1e9:.1f} GB of memory to decode, more than this machine has for "
                "it; use one with more memory, or lower max_pixels"
            )
        # Whoever asks for much is not overtaken for ever by those who ask for little.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + size <= self.total)
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()


@functools.cache
def pixel_budget() -> PixelBudget:
    """Returns the budget of this process."""
    memory = machine_memory()
    cores = len(os.sched_getaffinity(0))
    total, most = int(memory / cores * _SHARE_OF_CORE), int(memory * _MOST_OF_MACHINE)
    return PixelBudget(total=total, most=most)


def machine_memory(*, cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Bytes of memory of this machine, or of the container that this process is in.

    Args:
      cgroups: where the kernel shows the limits of containers.
      own: where it says in which of them this process is.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _limit_files(cgroups, own):
        # "max", an unreadable file and none at all are no limit.
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()))
    return min(found)


def _limit_files(cgroups: Path, own: Path) -> Iterator[Path]:
    """The files of both versions of the kernel's groups, from a process's own up to the root."""
    yield cgroups / "memory.max"
    yield cgroups / "memory" / "memory.limit_in_bytes"
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            is_first = "memory" in kinds.split(",")
            if kinds and not is_first:
                continue
            group = (cgroups / "memory" if is_first else cgroups) / name.lstrip("/")
            limit = "memory.limit_in_bytes" if is_first else "memory.max"
            for folder in (group, *group.parents):
                if folder.is_relative_to(cgroups):
                    yield folder / limit
