"""Whether training here learns as fast, step for step, as the published code did.

    python benchmarks/equal_steps.py --output=demo/equal_steps \\
        --examples=demo/pipeline/FinetuneExamples/examples/ID

Trains on the records that `make demo` converts for fine-tuning, with the settings under which the
published code was once trained on the same records, and prints a table of both. Evaluates the
checkpoints on the way too. The backend is the one that KERAS_BACKEND names. A call with the same
--output continues where the one before it was stopped; below it each backend has a folder and its
table as JSON, so that one --output serves both.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
from ml_collections import ConfigDict

from benchmarks.device import device_name
from configs import base
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.ground_truth import read_split_truth
from pix2seq_model.errors import UserError
from pix2seq_model.evaluation.detection import evaluate_network
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.checkpoint import CheckpointFolder, put_state
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.optimizer import make_optimizer
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.train import train
from pix2seq_model.training.training_model import TrainingModel

_STAGE = "finetune"
_LAST_STEPS = 200  # over which the loss is averaged
_STEPS_PER_LOG = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A training run.

    Attributes:
      code: that trained.
      seed: of the run.
      ap: COCO AP by step, each the mean of several seeds of sampling.
      loss: mean of the last _LAST_STEPS steps.
    """

    code: str
    seed: int
    ap: dict[int, float]
    loss: float


def _published(seed: int, *ap: float, loss: float) -> Row:
    steps = (500, 1000, 1500, 2000)
    return Row(code="published", seed=seed, ap=dict(zip(steps, ap, strict=True)), loss=loss)


# Recorded when github.com/google-research/pix2seq itself was trained for 2,000 steps on these
# records, with its own input, augmentation, optimizer, decoding and evaluation: TensorFlow,
# float32, no XLA, two processor cores; three seeds of sampling.
PUBLISHED_STEPS = 2000
PUBLISHED = (
    _published(0, 0.032, 0.211, 0.405, 0.517, loss=0.957),
    _published(1, 0.045, 0.204, 0.418, 0.520, loss=0.949),
    _published(2, 0.050, 0.277, 0.460, 0.541, loss=0.924),
)


def get_config(*, seed: int, steps: int, every: int) -> ConfigDict:
    """The settings of the recorded runs; not the demonstration's, which may change.

    What is not named here (the schedule, beta 2, jitter and flip, random order, noise objects and
    corrupted classes, the rule of the initial weights, drop rates, nucleus) is as published by
    default.

    Args:
      seed: of the run.
      steps: to train.
      every: steps between two checkpoints that are evaluated.
    """
    config = base.get_config()
    config.name = "equal_steps"
    config.seed = seed
    config.vocabulary.update(coord_shift=200, num_bins=64, vocab_size=264)
    config.model.update(backbone="resnet", resnet_variant="c4", resnet_width_multiplier=0.25)
    for part in ("encoder", "decoder"):
        sizes = {"num_{}_layers": 2, "dim_{}": 128, "mlp_dim_{}": 256, "num_heads_{}": 4}
        config.model.update({name.format(part): size for name, size in sizes.items()})
    config.finetune = base.published_stage()
    config.finetune.update(
        image_size=(64, 64),
        image_dtype="float32",
        batch_size=32,
        steps=steps,
        learning_rate=1.5e-3,
        warmup_steps=min(100, steps),
        weight_decay=0.05,
        clip_norm=1.0,
        steps_per_log=_STEPS_PER_LOG,
        checkpoint_every_steps=every,
        keep_checkpoints=1000,  # all: they are evaluated at the end
    )
    config.finetune.sequence.max_objects = 8
    config.evaluation.update(max_objects=8, batch_size=50)
    return config


class EqualSteps:
    """Trains and evaluates one seed after the other; what one of them compiled serves all."""

    def __init__(self, examples: Path, folder: Path, *, sampling_seeds: list[int]) -> None:
        """
        Args:
          examples: examples folder with the splits train and val.
          folder: of the runs' folders.
          sampling_seeds: AP is the mean over these.
        """
        self._examples, self._folder, self._sampling_seeds = examples, folder, sampling_seeds
        self._truth = read_split_truth(examples, "val")
        self._compiled_steps = CompiledSteps()
        self._evaluated: TrainingModel | None = None

    def run(self, run: TrainingRun, steps: list[int]) -> Row:
        """Trains, then evaluates the checkpoints of some steps, each from where it was stopped."""
        folder = self._folder / f"seed{run.seed}"
        train(
            run,
            examples_dir=self._examples,
            model_dir=folder / "model",
            work_dir=folder / "work",
            logs_dir=folder / "logs",
            export=False,
            compiled_steps=self._compiled_steps,
        )
        history = (folder / f"model/history/{_STAGE}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in history]
        last = [row["loss"] for row in rows if row["step"] > steps[-1] - _LAST_STEPS]
        return Row(
            code=f"this project, {keras.backend.backend()}",
            seed=run.seed,
            ap={step: self._mean_ap(run, folder, step) for step in steps},
            loss=statistics.fmean(last),
        )

    def _mean_ap(self, run: TrainingRun, folder: Path, step: int) -> float:
        """AP at a step; what was evaluated before stands in the run's folder."""
        path = folder / "AP" / f"step{step}.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        missing = [seed for seed in self._sampling_seeds if str(seed) not in found]
        if missing:
            state = CheckpointFolder(folder / "work/checkpoints", keep=1000).read(step)
            model = self._model(run)
            put_state(model, state)
        for seed in missing:
            settings = dataclasses.replace(run.evaluation, seed=seed)
            evaluation = evaluate_network(model.network, self._truth, settings=settings)
            found[str(seed)] = evaluation.result.metrics["AP"]
            write_json(path, found)
        return statistics.fmean(found[str(seed)] for seed in self._sampling_seeds)

    def _model(self, run: TrainingRun) -> TrainingModel:
        if self._evaluated is None:
            network = build_model(run.model, run.vocabulary)
            optimizer = make_optimizer(run.settings, network.trainable_variables)
            self._evaluated = TrainingModel(network, optimizer, vocabulary=run.vocabulary)
        return self._evaluated


def summary(rows: list[Row], steps: list[int]) -> dict[str, Any]:
    """Mean and range (largest minus smallest) over the seeds, of AP by step and of the loss."""
    values = {f"AP at {step}": [row.ap[step] for row in rows if step in row.ap] for step in steps}
    values["loss"] = [row.loss for row in rows]
    return {
        "mean": {name: statistics.fmean(of) if of else None for name, of in values.items()},
        "range": {name: max(of) - min(of) if of else None for name, of in values.items()},
    }


def table(rows: list[Row], steps: list[int]) -> str:
    """The rows, and below those of each code their mean and range, in Markdown."""
    heads = [f"AP at {step:,}" for step in steps]
    lines = [_line(["code", "seed", *heads, f"loss of the last {_LAST_STEPS} steps"])]
    lines.append("|---" * (len(steps) + 3) + "|")
    for code in dict.fromkeys(row.code for row in rows):
        of_code = [row for row in rows if row.code == code]
        for row in of_code:
            lines.append(_line([code, row.seed, *map(row.ap.get, steps), row.loss]))
        for name, values in summary(of_code, steps).items():
            lines.append(_line([code, name, *values.values()]))
    return "\n".join(lines)


def _line(cells: list) -> str:
    cells = ["" if cell is None else cell for cell in cells]
    texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    return f"| {' | '.join(texts)} |"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=Path, required=True, help="examples folder")
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and tables")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="of the runs")
    parser.add_argument("--sampling_seeds", type=_numbers, default=[0, 1, 2], help="of each AP")
    parser.add_argument("--steps", type=int, default=PUBLISHED_STEPS)
    parser.add_argument("--every", type=int, default=500, help="steps between two evaluations")
    given = parser.parse_args(arguments)
    if given.steps < 1 or given.every < 1 or given.steps % given.every:
        parser.error("--steps must be a multiple of --every")
    steps = list(range(given.every, given.steps + 1, given.every))
    backend = keras.backend.backend()
    try:
        runs = [
            training_run(get_config(seed=seed, steps=given.steps, every=given.every), _STAGE)
            for seed in given.seeds
        ]
        equal_steps = EqualSteps(
            given.examples, given.output / backend, sampling_seeds=given.sampling_seeds
        )
        ours = [equal_steps.run(run, steps) for run in runs]
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(table([*PUBLISHED, *ours], steps))
    if given.steps != PUBLISHED_STEPS:
        print(f"\nThe published runs are of {PUBLISHED_STEPS:,} steps: not the same schedule.")
    report = {
        "backend": backend,
        "device": device_name(),
        "examples": str(given.examples),
        "steps": given.steps,
        "sampling_seeds": given.sampling_seeds,
        "rows": [dataclasses.asdict(row) for row in (*PUBLISHED, *ours)],
        "published": summary(list(PUBLISHED), steps),
        "ours": summary(ours, steps),
    }
    write_json(given.output / f"{backend}.json", report, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
