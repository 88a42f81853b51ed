"""The traced costs of the published networks' steps, kept in a file.

The page of estimates and its tests are made from it, as tracing takes minutes. It holds a digest of
the code that decides the costs, so that a test sees when they have to be traced again.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

from configs.coco_finetune import SIZES
from pipelines.cache_keys import code_digest
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.estimate import Estimate
from pix2seq_model.experiment.machines import MACHINES
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.network.checkpointing import LAYERS, NONE, PRODUCTS
from pix2seq_model.network.config import PUBLISHED_NAMES
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_cache import shape_digest, step_costs
from pix2seq_model.training.step_costs import StepCosts

_DATA = Path(__file__).parents[1] / "tests/data/estimates"
RECORDED, _PEAKS = _DATA / "traced_steps.json", _DATA / "h100_peaks.json"
# Traces of the code whose peaks were measured: what is held against them is the rules by which a
# trace becomes bytes. The step of today takes less, by trace; no GPU has run it.
_MEASURED = _DATA / "h100_steps.json"
# On a GPU, in bfloat16.
HOW = {"flash_attention": True, "processor": False}
# Settings are imported from here, which decide nothing of a step.
_WITHOUT = tuple(
    f"pix2seq_model.{name}"
    for name in (
        *("decoding", "evaluation", "input_pipeline", "metrics", "errors", "setting_checks"),
        *("training.settings", "training.log_means"),
    )
)
_NO_DROPOUT = ("model.drop_path=0.0", "model.drop_units=0.0")


@functools.cache
def published_run(network: str, size: int, *overrides: str) -> TrainingRun:
    """Fine-tuning of a published network on COCO, in bfloat16."""
    given = ["finetune.precision=mixed_bfloat16", *overrides]
    config = load_config(f"configs/coco_finetune.py:{network},{size}", given, stage="finetune")
    return training_run(config, "finetune")


def recorded_runs() -> Iterator[tuple[str, TrainingRun]]:
    """The runs whose steps are recorded, with words for people."""
    for network in PUBLISHED_NAMES:
        for size in SIZES:
            run = published_run(network, size)
            yield f"{network} {size}", run
            for way in (PRODUCTS, LAYERS):
                settings = dataclasses.replace(run.settings, activation_checkpointing=way)
                yield f"{network} {size} {way}", dataclasses.replace(run, settings=settings)
    yield "vit_b 640 without dropout", published_run("vit_b", 640, *_NO_DROPOUT)


def code() -> str:
    """The code and packages that decide the costs."""
    digest = code_digest("pix2seq_model.training.step_trace", without=_WITHOUT)
    return f"{digest}, jax {version('jax')}, keras {version('keras')}"


def record(path: Path = RECORDED) -> None:
    """Traces all runs, or takes earlier traces of the same code, and writes the file."""
    steps = {}
    for words, run in recorded_runs():
        print(words, flush=True)
        key = shape_digest(run, HOW)
        steps[key] = {"step": words, "costs": step_costs(run, **HOW).to_json()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"code": code(), "steps": steps}, indent=1) + "\n")


def recorded(path: Path = RECORDED) -> Mapping[str, Any]:
    """The file: `code` and `steps`."""
    return json.loads(path.read_text())


@contextlib.contextmanager
def from_record(path: Path = RECORDED) -> Iterator[None]:
    """Inside, estimates take the recorded costs and trace nothing."""
    steps = recorded(path)["steps"]

    def costs(run: TrainingRun, **how: bool) -> StepCosts:
        # Accumulation changes no step, nor does the batch.
        found = steps.get(shape_digest(run, how))
        if found is None:
            raise ConfigError(f"{path} lacks this step: python benchmarks/estimates.py --trace")
        return StepCosts.from_json(found["costs"])

    with mock.patch.object(estimates, "step_costs", costs):
        yield


def h100_peaks() -> Iterator[tuple[str, float, Estimate]]:
    """Steps in words, the peaks in GiB that were measured, and what is estimated of their code."""
    for peak in json.loads(_PEAKS.read_text())["peaks"]:
        given = (() if peak["dropout"] else _NO_DROPOUT, ("finetune.image_dtype=uint8",))
        run = published_run(peak["network"], 640, *itertools.chain(*given))
        names = ("batch_size", "activation_checkpointing")
        settings = dataclasses.replace(run.settings, **{name: peak[name] for name in names})
        with from_record(_MEASURED):
            found = estimates.estimate(
                dataclasses.replace(run, settings=settings), MACHINES["h100"]
            )
        again = ", activation checkpointing" if settings.activation_checkpointing != NONE else ""
        dropout = "" if peak["dropout"] else ", no dropout"
        words = f"{peak['network']}, 640, {peak['batch_size']}{again}{dropout}"
        yield words, peak["peak_gib"], found
