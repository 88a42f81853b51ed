"""What is asked of the C library, here and for the processes started from here."""

import ctypes
import os
import types

from components.storage.memory import give_freed_memory_back


def test_here_and_in_processes_started_from_here(monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    asked = []
    library = types.SimpleNamespace(mallopt=lambda *option: asked.append(option))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    give_freed_memory_back()
    assert asked == [(-3, 1 << 20), (-8, 2)]
    assert os.environ["MALLOC_MMAP_THRESHOLD_"] == str(1 << 20)
    assert os.environ["MALLOC_ARENA_MAX"] == "7"  # A person's own choice stays.


def test_a_c_library_without_the_option(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    give_freed_memory_back()
