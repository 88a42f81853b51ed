"""How much memory the images that this process decodes may take at a time.

A file of some kilobytes may hold a hundred million pixels, and several are decoded at a time: by a
conversion, by prediction, by the page. Each asks here for what it needs and waits until that is
free; an image that needs more than the budget is decoded alone, by one process of the machine, and
one that the machine cannot hold is refused before it is. What stays decoded after that, to be drawn
for instance, counts until it is let go of.
"""

import contextlib
import ctypes
import fcntl
import functools
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pix2seq_model.errors import UnavailableError

# Of the memory of a processor core: a machine has as many workers as cores, or one of many threads.
_SHARE_OF_CORE = 0.5
# Of the machine's, for one image that is decoded alone.
_MOST_OF_MACHINE = 0.8
# Whoever decodes an image alone is done sooner; one that was stopped must not hold up the others.
_MOST_WAIT, _LOOKS_AGAIN = 600.0, 0.05
# When so much of the budget was held and freed, it goes back to the system before somebody else has
# it: glibc keeps some 60 MB of what is freed in each thread, and eight threads had eight times the
# budget. To do so after each image would take a tenth of the time that it is decoded in.
_RETURNED_SHARE = 0.25
# Of the budget, for what is kept decoded: most of it stays for those who decode.
_KEPT_SHARE = 0.25
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


class PixelBudget:
    """Bytes that are handed out in the order in which they are asked for.

    Args:
      total: bytes in use at a time, by more than one.
      most: bytes that one may have, alone.
      alone_file: see `alone_on_machine`, of the processes that share this machine; None: of no
        other.
    """

    def __init__(self, *, total: int, most: int, alone_file: Path | None = None) -> None:
        self.total, self.most = total, most
        self._alone_file = alone_file
        self._held = self._freed = self._kept = 0
        self._of_thread = threading.local()
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Waits until `size` bytes are free, or nothing else is in use, and has them in the block.

        A thread that has some already gets more at once: what it waited for might wait for it.

        Raises:
          UnavailableError: it is more than one may have.
        """
        if not size:  # Waits for nobody.
            yield
            return
        own = getattr(self._of_thread, "held", 0)
        if own + size > self.most:
            raise UnavailableError(
                f"it takes {(own + size) / 1e9:.1f} GB of memory to decode, more than "
                "this machine has for it; use one with more memory, or lower max_pixels"
            )
        if own:
            with self._changed:
                self._held += size
        else:
            # Whoever asks for much is not overtaken for ever by those who ask for little.
            with self._turn, self._changed:
                self._changed.wait_for(
                    lambda: not self._held or self._held + self._kept + size <= self.total
                )
                self._held += size
        self._of_thread.held = own + size
        try:
            with contextlib.ExitStack() as stack:
                if own <= self.total < own + size and self._alone_file is not None:
                    stack.enter_context(alone_on_machine(self._alone_file))
                yield
        finally:
            self._of_thread.held = own
            with self._changed:
                self._freed += size
                if is_enough := self._freed >= self.total * _RETURNED_SHARE:
                    self._freed = 0
            if is_enough:
                _return_memory()
            with self._changed:
                self._held -= size
                self._changed.notify_all()

    def keep(self, size: int, *, must: bool = False) -> bool:
        """Counts `size` bytes that stay in use for longer than a block of `hold`, until `let_go`.

        It never waits, and nobody waits for what is kept alone: a batch is done only when its last
        image is decoded, which must not wait for those before it.

        Args:
          size: bytes.
          must: they are in use in any case.

        Returns:
          Whether they count; if not, there is no room, and they must not stay in use.
        """
        with self._changed:
            kept = self._kept + size
            is_kept = must or (kept <= self.total * _KEPT_SHARE and self._held + kept <= self.total)
            self._kept += size * is_kept
        return is_kept

    @property
    def keeps_more(self) -> bool:
        """Whether less than its share of the budget is kept."""
        return self._kept < self.total * _KEPT_SHARE

    def let_go(self, size: int) -> None:
        """Ends what `keep` began."""
        with self._changed:
            self._kept -= size
            self._changed.notify_all()


def _return_memory() -> None:
    """Gives the system what was freed, in every thread; other C libraries do so by themselves."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def pixel_budget() -> PixelBudget:
    """Returns the budget of this process."""
    memory = machine_memory()
    cores = len(os.sched_getaffinity(0))
    total, most = int(memory / cores * _SHARE_OF_CORE), int(memory * _MOST_OF_MACHINE)
    alone_file = None
    with contextlib.suppress(OSError):  # No folder for temporary files can be written.
        alone_file = Path(tempfile.gettempdir()) / f"pix2seq_large_image_{os.getuid()}.lock"
    return PixelBudget(total=total, most=most, alone_file=alone_file)


@contextlib.contextmanager
def alone_on_machine(path: Path, *, most_wait: float = _MOST_WAIT) -> Iterator[None]:
    """Waits until no other process of this user is in such a block, as far as that can be known.

    The kernel lets go of the file when its holder ends, however it does. Where the file cannot be
    made, or another user has made it, nobody waits.

    Args:
      path: file in a folder that the processes share; made if it is not there, and left.
      most_wait: seconds, after which the block begins all the same.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags, 0o600)
    except OSError:
        yield
        return
    try:
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid():
            _lock(file, time.monotonic() + most_wait)
        yield
    finally:
        # Not by closing alone: a process that was forked meanwhile has the file open too.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def _lock(file: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return
            time.sleep(_LOOKS_AGAIN)
        except OSError:  # A file system without locks.
            return
        else:
            return


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
