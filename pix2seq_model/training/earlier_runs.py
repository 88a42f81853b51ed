"""What an interrupted training left next to the folder of one that starts: said, not used."""

import os
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from pix2seq_model.errors import DataError
from pix2seq_model.json_file import read_json
from pix2seq_model.training.checkpoint import checkpoint_steps
from pix2seq_model.training.run_record import FINISHED_FILE, IDENTITY_FILE

# Of a run's identity what no setting of a config says, in words.
_NO_SETTINGS = {
    "data": "the data",
    "base_model": "the model it starts from",
    "backend": "KERAS_BACKEND",
    "record_order": "the version of this program",
}


def interrupted_run(
    work_dir: str | os.PathLike, identity: Mapping[str, Any], *, stage: str
) -> str | None:
    """A line on the interrupted training that differs least from one that starts; None without.

    Args:
      work_dir: of the one that starts; others of its stage are next to it, `STAGE-*`.
      identity: its `run_identity`.
      stage: its stage.
    """
    here = epath.Path(work_dir)
    if not here.name.startswith(f"{stage}-"):
        return None
    found = []
    for folder in here.parent.iterdir():
        if folder.name.startswith(f"{stage}-") and folder.name != here.name:
            steps = checkpoint_steps(folder)
            before = _identity(folder) if steps and not (folder / FINISHED_FILE).exists() else {}
            parts = before.get(f"{stage}.accumulation_steps", 1)
            total = before.get(f"{stage}.steps", 0)
            if steps and steps[-1] < total * parts:
                changed = [
                    name
                    for name in sorted({*before, *identity})
                    if before.get(name) != identity.get(name) and name != "model.image_size"
                ]
                found.append((len(changed), -steps[-1], folder, changed, before, total, parts))
    if not found:
        return None
    _, batch, folder, changed, before, total, parts = min(found, key=lambda one: one[:2])
    return (
        f"{stage} starts at step 0. In {folder} a training was interrupted at step "
        f"{-batch // parts} of {total}: {'; '.join(_differences(changed, before, identity))}"
    )


def _identity(folder: epath.Path) -> dict[str, Any]:
    """Of the run that works in a folder; empty where that cannot be read: it is only for a line."""
    try:
        return read_json(folder / IDENTITY_FILE, fix="", kind=dict)
    except (OSError, DataError):
        return {}


def _differences(
    changed: list[str], before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    settings = [name for name in changed if name not in _NO_SETTINGS]
    for name in changed:
        if name in settings:
            yield f"{name} is {before.get(name)!r} there, {now.get(name)!r} here"
        else:
            yield f"{_NO_SETTINGS[name]} is another"
    flags = [f"--config.{name}={_value(before.get(name))}" for name in settings]
    if not changed:
        yield "its settings are these, but code or packages changed since; those continue it"
    elif len(settings) == len(changed):
        yield f"the same command with {shlex.join(flags)} continues it"
    else:
        yield "it continues with what it began with"


def _value(value: Any) -> str:
    """As an override says it; JSON has no tuples."""
    return str(tuple(value)) if isinstance(value, list) else str(value)
