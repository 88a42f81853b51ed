"""Which run a work folder belongs to: its checkpoints continue that run and no other."""

import dataclasses
import json
import os
from typing import Any

import keras
from etils import epath

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.errors import CheckpointError
from pix2seq_model.training.settings import WATCHING_SETTINGS, TrainingRun

FILE_NAME = "run_identity.json"


def run_identity(run: TrainingRun, *, data_fingerprint: str, base_model: str) -> dict[str, Any]:
    """What decides the weights that come out of a run, as flat names and JSON values.

    Args:
      run: what is trained.
      data_fingerprint: of the examples.
      base_model: digest of the weights that training starts from; empty for random ones.
    """
    sections = {
        "seed": run.seed,
        "vocabulary": dataclasses.asdict(run.vocabulary),
        "model": dataclasses.asdict(run.model),
        run.stage: {
            name: value
            for name, value in dataclasses.asdict(run.settings).items()
            if name not in WATCHING_SETTINGS
        },
        "data": data_fingerprint,
        "base_model": base_model,
        "backend": keras.backend.backend(),
    }
    return json.loads(json.dumps(dict(_flat("", sections))))


def check_same_run(work_dir: str | os.PathLike, identity: dict[str, Any]) -> None:
    """Notes whose work folder it is, the first time; later compares.

    Raises:
      CheckpointError: it is another run's; names the settings that differ.
    """
    path = epath.Path(work_dir) / FILE_NAME
    if not path.exists():
        write_atomically(path, json.dumps(identity, indent=1) + "\n")
        return
    before = json.loads(path.read_text())
    changed = [
        f"{name}: {before.get(name)!r} there, {identity.get(name)!r} now"
        for name in sorted({*before, *identity})
        if before.get(name) != identity.get(name)
    ]
    if changed:
        raise CheckpointError(
            f"{work_dir} holds checkpoints of a run with other settings ({'; '.join(changed)}). "
            "Use another work folder, restore the settings, or delete that folder."
        )


def _flat(prefix: str, value: Any):
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, part)
    else:
        yield prefix, value
