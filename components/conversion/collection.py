"""Keeps Python's garbage collector off what the imports made."""

import functools
import gc


@functools.cache
def collect_only_new_objects() -> None:
    """Everything that exists by now is never collected, once in a process.

    Beam and what it imports leave a million objects. The collector would walk through all of them
    again and again while annotations are read, and once more for every worker that ends: two of
    the twelve seconds in which `benchmarks/convert.py` converts 5,120 photographs.
    """
    gc.freeze()
