"""Keeps Python's garbage collector away from objects that imports created."""

import functools
import gc


@functools.cache
def collect_only_new_objects() -> None:
    """Everything that exists by now is never collected, once in a process.

    Beam and what it imports leave a million objects. The collector would walk through all of them
    repeatedly while annotations are read, and again for every worker that ends: two of the twelve
    seconds in which `benchmarks/convert.py` converts 5,120 photographs.
    """
    gc.freeze()
