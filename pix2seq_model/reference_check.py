"""Compares the network with numbers recorded from the published implementation.

    python -m pix2seq_model.reference_check DIR

DIR holds `config.json`, `checkpoint_dir/` and `golden.npz`. Every array of the latter is computed
again from the checkpoint's weights and compared. The exit status is 1 if one is off or missing.
The backend is the one that KERAS_BACKEND names; float32.

The training steps of a ResNet are ill-conditioned: in a random batch-normalised network some inputs
of ReLUs are within rounding of 0. Whether they pass changes the gradient by some percent, from the
first step on. Where a training array is off by more than its tolerance, the steps are run again
from weights moved by as many rounding units as such a network's sums gather. The tolerance of a
step is then what these movements do, and the table says so.
"""

import argparse
import dataclasses
import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pix2seq_model.decoding.generate import generate
from pix2seq_model.errors import CheckpointError, UserError
from pix2seq_model.json_file import read_json
from pix2seq_model.published.checkpoint import PublishedModel, load_published_checkpoint
from pix2seq_model.regular_file import irregular_kind
from pix2seq_model.tokens.detections import boxes_from_tokens
from pix2seq_model.tokens.sequences import build_sequences
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT
from pix2seq_model.training.loss import token_losses
from pix2seq_model.training.optimizer import make_optimizer
from pix2seq_model.training.settings import StageSettings
from pix2seq_model.training.training_model import TrainingModel
from pix2seq_model.training.training_step import make_step

_INPUTS = ("image", "bbox", "label")
_TRAINING = {"train_losses": "loss", "train_grad_norms": "gradient_norm"}
# Runs from moved weights, how far these are moved, relative, and how much further than the furthest
# of the runs rounding may lead. Our outputs and the recorded ones differ by some 1e-6.
_ROUNDING_RUNS, _ROUNDING_FACTOR = 8, 3.0
_ROUNDING_SIZE = 8 * np.finfo(np.float32).eps
# How the text in a reference's `train` calls AdamW's settings, and their published values. The
# others, and which weights decay, are those that every training here has.
_ADAMW = {
    "lr": ("learning_rate", 1e-3),
    "wd": ("weight_decay", 0.05),
    "b2": ("beta_2", 0.95),
}
_NO_DROPPING = {"drop_path": 0.0, "drop_units": 0.0, "drop_attention": 0.0}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Largest allowed error; of the recorded value if `relative`."""

    limit: float
    relative: bool = False

    def errors(self, ours: np.ndarray, recorded: np.ndarray) -> np.ndarray:
        """Every number's error; inf where it is not finite, or everywhere if the shapes differ."""
        if ours.shape != recorded.shape:
            return np.full(max(recorded.size, 1), np.inf)
        difference = np.abs(ours.astype(np.float64) - recorded.astype(np.float64))
        if self.relative:
            difference = difference / np.abs(recorded)
        return np.where(np.isfinite(difference), difference, np.inf)


_EXACT = Tolerance(0.0)
_CLOSE = Tolerance(2e-4)
TOLERANCES = {
    **dict.fromkeys(("input_seq", "target_seq", "token_weights"), _EXACT),
    **dict.fromkeys(("encoder_output", "encoded", "logits", "token_losses", "loss"), _CLOSE),
    "greedy_tokens": _EXACT,
    "greedy_logits": _CLOSE,
    "classes": _EXACT,
    "boxes": Tolerance(1e-6),
    "scores": Tolerance(1e-4),
    "train_losses": Tolerance(1e-3, relative=True),
    "train_grad_norms": Tolerance(1e-2, relative=True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
      array: its name.
      error: the largest; None where the array is missing or unknown.
      tolerance: None where the array is unknown.
      ok: whether every number is within its tolerance.
      rounding: how far rounding alone moves the numbers, where that had to be measured.
    """

    array: str
    error: float | None
    tolerance: Tolerance | None
    ok: bool
    rounding: float | None = None


def check(folder: str) -> list[Row]:
    """Recomputes every recorded array.

    Args:
      folder: with `config.json`, `checkpoint_dir/` and `golden.npz`.

    Raises:
      UserError: a file is missing or damaged, or the checkpoint does not fit the config.
    """
    config, golden = _read(Path(folder))
    inputs = [name for name in _INPUTS if name not in golden]
    if inputs:
        raise CheckpointError(f"{folder}/golden.npz has no array {', '.join(inputs)}.")
    loaded = load_published_checkpoint(
        str(Path(folder) / "checkpoint_dir"),
        image_size=golden["image"].shape[1:3],
        config=config,
        model_overrides=_NO_DROPPING,
    )
    images = golden["image"].astype(np.float32)
    sequences = _sequences(loaded, golden, config)
    tokens, targets, weights = sequences.values()
    train = functools.partial(
        _train,
        loaded,
        ({"image": images, "tokens": tokens}, targets, weights),
        num_steps=max(len(golden.get(name, ())) for name in _TRAINING),
        settings=_optimizer_settings(config),
    )
    ours = sequences | _forward(loaded, images, sequences)
    ours |= _decode_greedily(loaded, images, golden) | train()[0]
    rows = compare(ours, golden)
    if any(row.array in _TRAINING and not row.ok and row.error for row in rows):
        moved = train(moved_runs=_ROUNDING_RUNS)[1:]
        rows = compare(ours, golden, rounding=_rounding(moved, exact=ours))
    return rows


def compare(
    ours: dict[str, Any],
    golden: dict[str, np.ndarray],
    *,
    rounding: dict[str, np.ndarray] | None = None,
) -> list[Row]:
    """Compares recomputed arrays with recorded ones.

    Args:
      ours: every array of `TOLERANCES`.
      golden: the recorded arrays. One that is missing, and one that is unknown, is not ok.
      rounding: for some arrays, what rounding does to each number; takes the place of the
        tolerance where it is larger.
    """
    rows = []
    for name in dict.fromkeys([*TOLERANCES, *golden]):
        if name in _INPUTS:
            continue
        tolerance = TOLERANCES.get(name)
        if name not in golden or tolerance is None:
            rows.append(Row(array=name, error=None, tolerance=tolerance, ok=False))
            continue
        errors = tolerance.errors(np.asarray(ours[name]), golden[name])
        unit = (rounding or {}).get(name)
        limits = tolerance.limit if unit is None else np.maximum(tolerance.limit, unit)
        rows.append(
            Row(
                array=name,
                error=float(errors.max(initial=0.0)),
                tolerance=tolerance,
                ok=bool(np.all(errors <= limits)),
                rounding=None if unit is None else float(unit.max()),
            )
        )
    return rows


def format_table(rows: list[Row]) -> str:
    """array | largest absolute error | tolerance | ok."""
    lines = [f"{'array':<18}{'largest error':>15}{'tolerance':>20}   ok"]
    for row in rows:
        if row.error is None:
            error = "missing" if row.tolerance else "unknown"
        else:
            error = f"{row.error:.3g}"
        kind = " relative" if row.tolerance and row.tolerance.relative else ""
        limit = f"{row.tolerance.limit:g}{kind}" if row.tolerance else "-"
        line = f"{row.array:<18}{error:>15}{limit:>20}   {'ok' if row.ok else 'NO'}"
        if row.rounding is not None:
            line += f"   (rounding: up to {row.rounding:.3g})"
        lines.append(line)
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m pix2seq_model.reference_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="with config.json, checkpoint_dir/ and golden.npz")
    folder = parser.parse_args(arguments).folder
    try:
        rows = check(folder)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{folder} on {keras.backend.backend()}")
    print(format_table(rows))
    failed = [row.array for row in rows if not row.ok]
    print(f"not ok: {', '.join(failed)}" if failed else "all ok")
    return 1 if failed else 0


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        config = read_json(folder / "config.json", fix="copy it again", kind=dict)
        if kind := irregular_kind(folder / "golden.npz"):
            raise ValueError(f"golden.npz {kind}")
        with np.load(folder / "golden.npz", allow_pickle=False) as archive:
            golden = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: {error}. Give the folder of a reference.") from error
    return config, golden


def _sequences(
    loaded: PublishedModel, golden: dict[str, np.ndarray], config: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Input tokens, targets and weights of the recorded objects."""
    task = {**(config.get("task") or {}), **config}
    length = golden["input_seq"].shape[1] if "input_seq" in golden else 5 * golden["label"].shape[1]
    sequences = build_sequences(
        golden["bbox"],
        golden["label"],
        vocabulary=loaded.network.vocabulary,
        padding_weight=task.get("eos_token_weight", 0.1),
        noise_class_weight=task.get("noise_bbox_weight", 1.0),
        length=length,
    )
    return dict(zip(("input_seq", "target_seq", "token_weights"), map(np.asarray, sequences)))


def _forward(
    loaded: PublishedModel, images: np.ndarray, sequences: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the network makes of images and sequences, and the loss."""
    tokens, targets, weights = sequences.values()
    encoded = loaded.network.encode(images)
    logits = loaded.network.decode(tokens, encoded)
    losses = _numpy(token_losses(targets, logits))
    return {
        "encoder_output": _numpy(loaded.network.encoder(images)),
        "encoded": _numpy(encoded),
        "logits": _numpy(logits),
        "token_losses": losses,
        "loss": np.sum(losses * weights) / np.sum(weights),
    }


def _decode_greedily(loaded, images, golden):
    length = golden["greedy_tokens"].shape[1] if "greedy_tokens" in golden else 5
    objects = generate(
        loaded.network,
        images,
        max_objects=-(-length // TOKENS_PER_OBJECT),
        top_k=1,
        stop_at_end=False,
        keep_logits=True,
    )
    tokens, complete = objects["tokens"][:, :length], length // TOKENS_PER_OBJECT
    whole = tokens[:, : complete * TOKENS_PER_OBJECT]
    return {
        "greedy_tokens": tokens,
        "greedy_logits": objects["logits"][:, :length],
        "classes": objects["category_ids"][:, :complete],
        "scores": objects["scores"][:, :complete],
        "boxes": boxes_from_tokens(whole, loaded.network.vocabulary),
    }


def _train(loaded, batch, *, num_steps, settings, moved_runs=0):
    """Losses and gradient norms of some steps: from the weights, then from moved weights."""
    settings = StageSettings(schedule="constant", **settings)
    optimizer = make_optimizer(settings, loaded.network.trainable_variables)
    model = TrainingModel(loaded.network, optimizer, vocabulary=loaded.network.vocabulary)
    # XLA takes minutes to compile a deep ResNet's step, TensorFlow's graph seconds.
    step = make_step(model, jit_compile="on" if keras.backend.backend() == "jax" else "off")
    batch = step.place(batch)
    variables = [*loaded.network.variables, *optimizer.variables]
    start = [_numpy(variable) for variable in variables]
    weights = {id(weight) for weight in loaded.network.trainable_weights}
    random = np.random.default_rng(0)
    runs = []
    for run in range(1 + moved_runs):
        for variable, value in zip(variables, start, strict=True):
            if run and id(variable) in weights:
                value = value * (1 + _ROUNDING_SIZE * random.normal(size=value.shape))
            variable.assign(value)
        logs = [_logged(step, batch) for _ in range(num_steps)]
        runs.append({name: np.array([log[key] for log in logs]) for name, key in _TRAINING.items()})
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    return runs


def _logged(step, batch):
    """The log of one step."""
    step.model.log.reset()
    step(batch)
    step.synchronize()
    return step.model.log.read()


def _rounding(moved, *, exact):
    """How far rounding moves each step's loss and gradient norm, relative."""
    spreads = {
        name: np.max([np.abs(run[name] / exact[name] - 1) for run in moved], axis=0)
        for name in _TRAINING
    }
    # Errors of earlier steps are in the weights of later ones.
    return {n: _ROUNDING_FACTOR * np.maximum.accumulate(spread) for n, spread in spreads.items()}


def _optimizer_settings(config: dict[str, Any]) -> dict[str, float]:
    """AdamW's settings from the text in `train`, such as "AdamW lr=1e-3 wd=0.05 b1=0.9"."""
    text = config["train"] if isinstance(config.get("train"), str) else ""
    written = dict(re.findall(r"\b(lr|wd|b2)=([-+.\deE]+)", text))
    return {name: float(written.get(word, value)) for word, (name, value) in _ADAMW.items()}


_numpy: Callable[[Any], np.ndarray] = keras.ops.convert_to_numpy

if __name__ == "__main__":
    sys.exit(main())
