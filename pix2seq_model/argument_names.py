"""How a message calls an argument: by its name in Python, on a command line by its flag.

The library is called from Python and by commands whose flags have the names of its arguments. What
it says to do must be something that the reader can type where they are.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

_flags: frozenset[str] = frozenset()  # of the command that this process is; none of a program's


@contextlib.contextmanager
def called_as_flags(names: Iterable[str]) -> Iterator[None]:
    """Within the block arguments of these names are called by their flags."""
    global _flags
    before, _flags = _flags, frozenset(names)
    try:
        yield
    finally:
        _flags = before


def argument(name: str, value: Any = "...") -> str:
    """An argument with a value: tile=640, or --tile=640; trust=True, or --trust."""
    if name not in _flags:
        return f"{name}={value}"
    if value is True:
        return f"--{name}"
    return f"--{name}={value}"


def argument_name(name: str) -> str:
    """An argument without a value: tile, or --tile."""
    return f"--{name}" if name in _flags else name
