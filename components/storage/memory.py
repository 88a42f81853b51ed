"""Memory that is freed goes back to the system at once, in this process and those it starts.

Beam's local runner passes its shuffle on in buffers of many megabytes. The C library keeps such a
buffer for later when it is freed, and in a process with many threads it keeps many: the job's
memory was seen to be several times what it held. Not for a process that trains, which needs its
buffers again soon.
"""

import contextlib
import ctypes
import os

_KEPT_BYTES = 1 << 20
_STORES = 2
# malloc.h of glibc; other C libraries have no `mallopt` and need none.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def give_freed_memory_back() -> None:
    """Buffers of over a megabyte are given back when freed; of smaller ones few stores are kept."""
    # For the workers, which are processes of their own: the C library reads it when they start.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(_KEPT_BYTES))
    os.environ.setdefault("MALLOC_ARENA_MAX", str(_STORES))
    with contextlib.suppress(OSError, AttributeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        c_library.mallopt(_M_ARENA_MAX, _STORES)
