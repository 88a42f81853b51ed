"""Puts the stand-ins of commands where a shell finds them."""

import shlex
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_STAND_INS = ("gcloud", "docker", "terraform")


def write_programs(folder: Path) -> Path:
    """Writes `gcloud`, `docker`, `terraform` and `python` to a folder for PATH; returns it."""
    folder.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    for name in _STAND_INS:
        module = f"tests.cloud.project.{name}"
        # -P: not from the working folder.
        _write(folder / name, f'PYTHONPATH={_ROOT} exec {python} -P -m {module} "$@"')
    for name in ("python", "python3.11"):
        _write(folder / name, f'exec {python} "$@"')
    return folder


def _write(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
