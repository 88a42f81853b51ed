"""`run.json`: what it takes to repeat a training run, and what it ran on."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
from etils import epath

RUN_FILE = "run.json"
_PACKAGES = (
    *("keras", "tensorflow", "jax", "jaxlib", "numpy", "ml-collections", "etils"),
    *("apache-beam", "tfx"),
)


def run_record(
    *,
    config: dict[str, Any],
    stage: str,
    data: dict[str, Any],
    base_model: dict[str, Any] | None,
    steps: int,
    restarts: int,
    num_processes: int,
    num_devices: int,
    wall_time_s: float,
) -> dict[str, Any]:
    """The record as plain JSON values.

    Args:
      config: the whole config, seeds included.
      stage: pretrain or finetune.
      data: folder and fingerprint of the examples.
      base_model: folder, digest and record of the model the weights came from; None if random.
      steps: optimizer steps taken.
      restarts: how often the run was interrupted and continued.
      num_processes, num_devices: that shared each batch when it ended.
      wall_time_s: seconds spent training, over all restarts.
    """
    return {
        "stage": stage,
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "steps": steps,
        "restarts": restarts,
        "wall_time_s": round(wall_time_s, 1),
        "seed": config["seed"],
        "config": config,
        "data": data,
        "base_model": base_model,
        "git": _git(),
        "python": platform.python_version(),
        "packages": _packages(),
        "hardware": {
            **_hardware(),
            "num_processes": num_processes,
            "num_devices": num_devices,
        },
        "command": sys.argv,
    }


def read_run_record(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The record in a model folder; None where there is none."""
    path = epath.Path(folder) / RUN_FILE
    return json.loads(path.read_text()) if path.exists() else None


def _packages() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _hardware() -> dict[str, Any]:
    return {
        "backend": keras.backend.backend(),
        "devices": keras.distribution.list_devices(),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }


def _git() -> dict[str, Any] | None:
    """Commit of this code and whether it was changed since; None outside a git checkout."""
    folder = Path(__file__).resolve().parent
    commit = _git_output(folder, "rev-parse", "HEAD")
    if commit is None:
        # An image without .git names its commit in the environment.
        commit = os.environ.get("GIT_COMMIT")
        return {"commit": commit} if commit else None
    return {"commit": commit, "changed": bool(_git_output(folder, "status", "--porcelain"))}


def _git_output(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
