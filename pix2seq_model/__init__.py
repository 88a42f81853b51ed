"""Pix2Seq: records, tokens, augmentation, network, training, decoding, metrics, export.

For use in Python: `from pix2seq_model import load`, see `pix2seq_model.api`. Its names are looked
up when they are asked for: no other module of the library depends on them.
"""

import importlib

_OF_API = ("load", "Model", "Result", "Results")


def __getattr__(name: str) -> object:
    if name not in _OF_API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OF_API])
