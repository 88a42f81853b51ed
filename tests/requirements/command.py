"""The programs in requirements/, which run with Python's standard library and are no package."""

import importlib
import types
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "requirements"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The program as a module of the same name, found as it finds its neighbours."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)
