"""Holds the network against numbers recorded from the published implementation.

    python -m pix2seq_model.reference_check DIR

DIR holds `config.json`, `checkpoint_dir/` and `golden.npz`. Every array of the latter is computed
anew from the checkpoint's weights and compared. The exit status is 1 if one is off or missing.
The backend is the one that KERAS_BACKEND names; float32.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pix2seq_model.decoding import TOKENS_PER_OBJECT, generate
from pix2seq_model.detections import boxes_from_tokens
from pix2seq_model.errors import CheckpointError, UserError
from pix2seq_model.published_checkpoint import PublishedModel, load_published_checkpoint
from pix2seq_model.sequences import build_sequences
from pix2seq_model.train_step import TrainedNetwork, token_losses

_INPUTS = ("image", "bbox", "label")
_NO_DROPPING = {"drop_path": 0.0, "drop_units": 0.0, "drop_attention": 0.0}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Largest allowed error; of the recorded value if `relative`."""

    limit: float
    relative: bool = False

    def error(self, ours: np.ndarray, recorded: np.ndarray) -> float:
        """The largest error, inf if the shapes differ or a number is not finite."""
        if ours.shape != recorded.shape:
            return np.inf
        difference = np.abs(ours.astype(np.float64) - recorded.astype(np.float64))
        if self.relative:
            difference = difference / np.abs(recorded)
        worst = difference.max(initial=0.0)
        return float(worst) if np.isfinite(worst) else np.inf


_EXACT = Tolerance(0.0)
_CLOSE = Tolerance(2e-4)
TOLERANCES = {
    "input_seq": _EXACT,
    "target_seq": _EXACT,
    "token_weights": _EXACT,
    "encoder_output": _CLOSE,
    "encoded": _CLOSE,
    "logits": _CLOSE,
    "token_losses": _CLOSE,
    "loss": _CLOSE,
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
    """One line of the table; `error` is None where the array is missing or unknown."""

    array: str
    error: float | None
    tolerance: Tolerance | None
    ok: bool


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
    return compare(_recompute(loaded, golden, config), golden)


def compare(ours: dict[str, Any], golden: dict[str, np.ndarray]) -> list[Row]:
    """Holds recomputed arrays against recorded ones.

    Args:
      ours: every array of `TOLERANCES`.
      golden: the recorded arrays. One that is not there, and one that nobody knows, is not ok.
    """
    rows = []
    for name in dict.fromkeys([*TOLERANCES, *golden]):
        if name in _INPUTS:
            continue
        tolerance = TOLERANCES.get(name)
        if name not in golden or tolerance is None:
            rows.append(Row(array=name, error=None, tolerance=tolerance, ok=False))
            continue
        error = tolerance.error(np.asarray(ours[name]), golden[name])
        rows.append(Row(array=name, error=error, tolerance=tolerance, ok=error <= tolerance.limit))
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
        lines.append(f"{row.array:<18}{error:>15}{limit:>20}   {'ok' if row.ok else 'NO'}")
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
        config = json.loads((folder / "config.json").read_text())
        with np.load(folder / "golden.npz", allow_pickle=False) as archive:
            golden = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: {error}. Give the folder of a reference.") from error
    return config, golden


def _recompute(
    loaded: PublishedModel, golden: dict[str, np.ndarray], config: dict[str, Any]
) -> dict[str, Any]:
    network, vocabulary = loaded.network, loaded.vocabulary
    task = {**(config.get("task") or {}), **config}
    images = golden["image"].astype(np.float32)
    length = golden["input_seq"].shape[1] if "input_seq" in golden else 5 * golden["label"].shape[1]
    sequences = build_sequences(
        golden["bbox"],
        golden["label"],
        vocabulary=vocabulary,
        padding_weight=task.get("eos_token_weight", 0.1),
        noise_class_weight=task.get("noise_bbox_weight", 1.0),
        length=length,
    )
    input_seq, target_seq, token_weights = (np.asarray(array) for array in sequences)
    ours = {"input_seq": input_seq, "target_seq": target_seq, "token_weights": token_weights}

    encoded = network.encode(images)
    logits = network.decode(input_seq, encoded)
    losses = _numpy(token_losses(target_seq, logits))
    ours["encoder_output"] = _numpy(network.encoder(images))
    ours["encoded"] = _numpy(encoded)
    ours["logits"] = _numpy(logits)
    ours["token_losses"] = losses
    ours["loss"] = np.sum(losses * token_weights) / np.sum(token_weights)
    ours.update(_decode_greedily(loaded, images, golden))
    ours.update(_train(loaded, images, (input_seq, target_seq, token_weights), golden, config))
    return ours


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
        "classes": objects["class_ids"][:, :complete],
        "scores": objects["scores"][:, :complete],
        "boxes": boxes_from_tokens(whole, loaded.vocabulary),
    }


def _train(loaded, images, sequences, golden, config):
    input_seq, target_seq, token_weights = sequences
    training = TrainedNetwork(loaded.network, loaded.vocabulary)
    training.compile(
        optimizer=keras.optimizers.AdamW(**_optimizer_settings(config)),
        # XLA takes minutes to compile a deep ResNet's step, TensorFlow's graph seconds.
        jit_compile=keras.backend.backend() == "jax",
    )
    losses, norms = [], []
    for _ in range(len(golden.get("train_losses", ()))):
        training.reset_metrics()
        logs = training.train_on_batch(
            {"image": images, "tokens": input_seq},
            target_seq,
            sample_weight=token_weights,
            return_dict=True,
        )
        losses.append(float(logs["loss"]))
        norms.append(float(logs["gradient_norm"]))
    return {"train_losses": np.array(losses), "train_grad_norms": np.array(norms)}


def _optimizer_settings(config: dict[str, Any]) -> dict[str, float]:
    """AdamW's settings from the text in `train`, such as "AdamW lr=1e-3 wd=0.05 b1=0.9"."""
    text = config["train"] if isinstance(config.get("train"), str) else ""
    written = dict(re.findall(r"\b(lr|wd|b1|b2|eps)=([-+.\deE]+)", text))
    published = {"lr": 1e-3, "wd": 0.05, "b1": 0.9, "b2": 0.95, "eps": 1e-8}
    values = {name: float(written.get(name, value)) for name, value in published.items()}
    return {
        "learning_rate": values["lr"],
        "weight_decay": values["wd"],
        "beta_1": values["b1"],
        "beta_2": values["b2"],
        "epsilon": values["eps"],
    }


_numpy: Callable[[Any], np.ndarray] = keras.ops.convert_to_numpy

if __name__ == "__main__":
    sys.exit(main())
