"""What a training run is: `run_identity.json` in its work folder, `run.json` in its model folder.

The identity is what decides the weights: checkpoints continue the run of the same identity and no
other. The record is what it takes to repeat the run, and what it ran on.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.manifest import DatasetInfo
from pix2seq_model.errors import CheckpointError, DataError
from pix2seq_model.evaluation.settings import MEASURING_SETTINGS, EvaluationSettings
from pix2seq_model.input_pipeline.record_stream import RECORD_ORDER
from pix2seq_model.json_file import read_json
from pix2seq_model.model_folder.folder import ModelInfo
from pix2seq_model.training.checkpoint import checkpoint_steps
from pix2seq_model.training.early_stopping import measured_as, stopped_at
from pix2seq_model.training.job import TrainingJob
from pix2seq_model.training.settings import (
    MLFLOW,
    WANDB,
    StageSettings,
    TrainingRun,
    early_stopping_of,
    outside_the_run,
)
from pix2seq_model.training.tracker import TrackedRun

IDENTITY_FILE = "run_identity.json"
# Next to it when the training came to its end, early or not.
FINISHED_FILE = "finished.json"
RUN_FILE = "run.json"
_PACKAGES = (
    *("keras", "tensorflow", "jax", "jaxlib", "numpy", "ml-collections", "etils"),
    *("apache-beam", "tfx"),
)


def run_identity(
    run: TrainingRun, *, data: DatasetInfo, base_model: ModelInfo | None
) -> dict[str, Any]:
    """What decides the weights after each step of a run, as flat names and JSON values.

    With `keep_best` also what decides which of them are the best so far. When a run ends is not
    part of it, but for the number of steps that the learning rate is planned for.

    Args:
      run: what is trained.
      data: the examples.
      base_model: that training starts from; None for random weights.
    """
    settings = dataclasses.asdict(run.settings)
    for name in outside_the_run(keep_best=run.settings.keep_best):
        del settings[name]
    sections = {
        "seed": run.seed,
        "vocabulary": dataclasses.asdict(run.vocabulary),
        "model": dataclasses.asdict(run.model),
        run.stage: settings,
        "data": data.fingerprint(),
        "base_model": base_model.weights_sha256 if base_model else "",
        "backend": keras.backend.backend(),
        "record_order": RECORD_ORDER,
    }
    if run.settings.keep_best:
        measured = {name: getattr(run.evaluation, name) for name in MEASURING_SETTINGS}
        sections["evaluation"] = measured
    return json.loads(json.dumps(dict(_flat("", sections))))


def tracked_run(
    run: TrainingRun, identity: dict[str, Any], *, work_dir: str | os.PathLike
) -> TrackedRun:
    """What services that keep the curves of many runs are told of one.

    Args:
      run: what is trained.
      identity: its `run_identity`.
      work_dir: where its checkpoints go.
    """
    folder = os.fspath(work_dir)
    settings = {run.stage: dataclasses.asdict(run.settings)}
    settings["evaluation"] = dataclasses.asdict(run.evaluation)
    identified = {name: identity[name] for name in ("data", "base_model", "backend")}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    # Git is asked only where somebody hears of it: in a large checkout it takes a while.
    has_trackers = bool({MLFLOW, WANDB} & {*run.logging.loggers})
    return TrackedRun(
        project=run.logging.project,
        name=run.logging.run_name or f"{run.name} {run.stage}",
        parameters=json.loads(json.dumps({**identity, **dict(_flat("", settings))})),
        tags={
            "stage": run.stage,
            "run_identity": digest,
            **identified,
            "git_commit": (_git_commit() or "") if has_trackers else "",
        },
        folder=None if "://" in folder else folder,
    )


def check_same_run(work_dir: str | os.PathLike, identity: dict[str, Any]) -> None:
    """Notes whose work folder it is, the first time; later compares.

    Raises:
      CheckpointError: it is another run's; names the settings that differ.
    """
    path = epath.Path(work_dir) / IDENTITY_FILE
    if not path.exists():
        write_json(path, identity, indent=1)
        return
    fix = (
        f"it said whose checkpoints {work_dir} holds. If they are this run's, with these settings "
        "and data, remove that file and run the same command again; else give another folder"
    )
    try:
        before = read_json(path, fix=fix, error=CheckpointError, kind=dict)
    except CheckpointError:
        if checkpoint_steps(work_dir):
            raise
        write_json(path, identity, indent=1)  # There is nothing yet that it could protect.
        return
    changed = [
        f"{name}: {before.get(name)!r} there, {identity.get(name)!r} now"
        for name in sorted({*before, *identity})
        if before.get(name) != identity.get(name)
    ]
    if before.get("record_order") != identity.get("record_order"):
        raise CheckpointError(
            f"{work_dir} holds checkpoints of another version of this program, which read the "
            "records in another order: continued here, the run would see some images twice and "
            "others not at all. Finish it with the version that began it, use another work folder, "
            "or delete that folder."
        )
    if changed:
        raise CheckpointError(
            f"{work_dir} holds checkpoints of a run with other settings ({'; '.join(changed)}). "
            "Use another work folder, restore the settings, or delete that folder."
        )


def note_finished(run: TrainingRun, work_dir: str | os.PathLike, *, batches: int) -> None:
    """Notes in a work folder that its training came to its end, and by which early stopping."""
    note = {
        "batches": batches,
        "early_stopping": early_stopping_of(run.settings),
        "measured_as": measured_as(run.settings, run.evaluation),
    }
    write_json(epath.Path(work_dir) / FINISHED_FILE, note)


def note_unfinished(work_dir: str | os.PathLike, *, check: Callable[[], None]) -> None:
    """Removes that note, as where other settings of early stopping let the training go on.

    Args:
      work_dir: of the run.
      check: raises if this process may no longer write that folder.
    """
    check()
    (epath.Path(work_dir) / FINISHED_FILE).unlink(missing_ok=True)


def ended_early_by(
    settings: StageSettings, evaluation: EvaluationSettings, work_dir: str | os.PathLike
) -> bool:
    """Whether early stopping by these settings has ended the training of a work folder."""
    try:
        note = read_json(epath.Path(work_dir) / FINISHED_FILE, fix="it is left out", kind=dict)
        # Not noted by earlier versions.
        how = measured_as(settings, evaluation)
        is_measured_so = note.get("measured_as", how) == how
        return is_measured_so and note.get("early_stopping") == early_stopping_of(settings) != {}
    except (OSError, DataError):
        return False


def run_record(job: TrainingJob, record: dict[str, Any]) -> dict[str, Any]:
    """What it takes to repeat a run, as plain JSON values.

    Args:
      job: the run.
      record: of its training: "restarts" and "wall_time_s", the seconds over all restarts.
    """
    run, base_model = job.run, None
    if job.base_info and job.base_model_dir:
        base_run = epath.Path(job.base_model_dir) / RUN_FILE
        base_model = {
            "folder": os.fspath(job.base_model_dir),
            "weights_sha256": job.base_info.weights_sha256,
            "run": _read_or_none(base_run),
        }
    return {
        "stage": run.stage,
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "steps": run.settings.steps,
        "stopped_at_step": stopped_at(record),
        "restarts": record["restarts"],
        "wall_time_s": round(record["wall_time_s"], 1),
        "seed": run.config["seed"],
        "config": dict(run.config),
        "data": {
            "folder": os.fspath(job.examples_dir),
            "split": job.split,
            "fingerprint": job.data.fingerprint(),
        },
        "base_model": base_model,
        "git": _git(),
        "python": platform.python_version(),
        "packages": _packages(),
        "hardware": {
            "backend": keras.backend.backend(),
            "devices": keras.distribution.list_devices(),
            "cpu_count": os.cpu_count(),
            "machine": platform.machine(),
            "system": platform.platform(),
            "num_processes": job.replicas.num_processes,
            "num_devices": job.replicas.num_devices,
        },
        "command": sys.argv,
    }


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, part)
    else:
        yield prefix, value


def _packages() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _git() -> dict[str, Any] | None:
    """Commit of this code and whether it was changed since; None outside a git checkout."""
    if (commit := _git_commit()) is None:
        return None
    status = _git_output("status", "--porcelain")
    return {"commit": commit} if status is None else {"commit": commit, "changed": bool(status)}


def _git_commit() -> str | None:
    # An image without .git names its commit in the environment.
    return _git_output("rev-parse", "HEAD") or os.environ.get("GIT_COMMIT") or None


def _git_output(*arguments: str) -> str | None:
    try:
        # Without locks: whoever works in that folder meanwhile is not disturbed.
        folder = str(Path(__file__).resolve().parent)
        command = ["git", "--no-optional-locks", "-C", folder, *arguments]
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _read_or_none(path: epath.Path) -> Any:
    """What a base model says of its own training; a trained model is written without it too."""
    try:
        return read_json(path, fix="") if path.exists() else None
    except DataError:
        return None
