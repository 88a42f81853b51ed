"""The costs of a stage's training step, traced in a process of its own and kept on disk.

Tracing needs JAX, whichever backend is used here, and takes some ten seconds of a processor.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from pix2seq_model.atomic_write import write_json
from pix2seq_model.errors import ConfigError
from pix2seq_model.json_file import read_json
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_costs import StepCosts

_LIBRARY = Path(__file__).resolve().parents[1]
# Settings of a stage that the shape of a step depends on.
_SHAPING = (
    *("precision", "activation_checkpointing", "ema_decay", "label_smoothing", "clip_norm"),
    "image_dtype",
)
_DIGITS = 24


def step_costs(run: TrainingRun, *, flash_attention: bool, processor: bool) -> StepCosts:
    """What a step of a stage takes, its gradients not accumulated.

    Args:
      run: the stage.
      flash_attention, processor: see `trace_step`.

    Raises:
      ConfigError: JAX, which traces it, is not installed.
    """
    settings = dataclasses.replace(run.settings, accumulation_steps=1)
    run = dataclasses.replace(run, settings=settings)
    how = {"flash_attention": flash_attention, "processor": processor}
    cached = _folder() / f"{_key(run, how)}.json"
    try:
        return StepCosts.from_json(read_json(cached, fix="", kind=dict))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    costs = _traced(run, how)
    with contextlib.suppress(OSError):  # A home that cannot be written: traced again.
        write_json(cached, costs)
    return StepCosts.from_json(costs)


def _traced(run: TrainingRun, how: Mapping[str, bool]) -> dict:
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(_LIBRARY.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pix2seq_model.training.step_trace"],
        input=pickle.dumps((run, how)),
        env=environment,
        capture_output=True,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"status {done.returncode}"
        raise ConfigError(
            f"{run.stage}: the training step cannot be traced ({why}): "
            "tracing needs JAX, pip install -r requirements/jax.txt."
        )
    return json.loads(done.stdout.splitlines()[-1])


def shape_digest(run: TrainingRun, how: Mapping[str, bool]) -> str:
    """Digest of the settings that decide what a step takes.

    Args:
      run: the stage.
      how: the arguments of `step_costs`.
    """
    parts = [
        dataclasses.asdict(run.model),
        run.vocabulary.vocab_size,
        {name: getattr(run.settings, name) for name in _SHAPING},
        run.settings.image_size,
        run.settings.sequence.max_objects,
        {**how},
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _key(run: TrainingRun, how: Mapping[str, bool]) -> str:
    parts = [shape_digest(run, how), *(version(name) for name in ("jax", "keras"))]
    digest = hashlib.sha256(" ".join(parts).encode())
    for folder in ("network", "training"):
        for file in sorted((_LIBRARY / folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pix2seq" / "training_steps"
