"""`gpu.sh train`: trains from random weights to an AP, in bfloat16 and in float32, on real batches.

    python -m benchmarks.gpu.train --batches=FILE --output=FOLDER [--seeds=0,1,2]
    python -m benchmarks.gpu.train --batches=FILE --output=FOLDER --score

FILE is of benchmarks/gpu/batches.py. Both precisions see the same batches and start from the same
weights; they agree if their mean APs differ by no more than the APs of the seeds of one of them do.
Writes FOLDER/train.json after every run, and FOLDER/detections.json: on a machine with neither
hotcoco nor pycocotools there is no AP, and `--score` fills it in elsewhere.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.device import device_name
from benchmarks.gpu.batches import Batches
from benchmarks.gpu.real_loop import train_in_loop
from pix2seq_model.atomic_write import write_json
from pix2seq_model.decoding.detector import Detector
from pix2seq_model.decoding.generate import decoder_for, encoder_for
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import UserError
from pix2seq_model.metrics.coco_files import checked_detections
from pix2seq_model.metrics.coco_metrics import ENGINES, evaluate_detections
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.training_step import fresh_step

PRECISIONS = ("mixed_bfloat16", "float32")


class Trainings:
    """Runs of two precisions and several seeds; each precision is compiled once."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self._compiled_steps = batches, CompiledSteps()
        run = batches.run()
        # Evaluated in float32 whatever it was trained in, as a finished model is.
        self._network = build_model(run.model, run.vocabulary, precision="float32")
        self._find = _finder(self._network, batches, run.evaluation)

    def train(self, precision: str, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A run: its row without AP, and its detections."""
        run = self._batches.run(f"finetune.precision={precision}", f"seed={seed}")
        start = time.perf_counter()
        step = self._compiled_steps.take(run, lambda: fresh_step(run))
        rows = train_in_loop(
            run,
            step,
            self._batches.endless(),
            steps=run.settings.steps,
            steps_per_log=run.settings.steps_per_log,
        )
        model = step.model
        model.optimizer.finalize_variable_values(model.trainable_variables)
        trained_s = time.perf_counter() - start
        self._network.set_weights(model.network.get_weights())
        row = {
            "precision": precision,
            "seed": seed,
            "steps": run.settings.steps,
            "batch_size": run.settings.batch_size,
            "seconds": trained_s,
            "images_per_s": rows[-1].get("images_per_second"),
            "loss": rows[-1]["loss"],
        }
        return row, self._find()


def _finder(network: Pix2Seq, batches: Batches, evaluation: Any):
    """A function that detects the objects of all images with the network's weights of then."""
    settings = DecodeSettings(**evaluation.decoding())
    detector = Detector(network, clip_boxes=evaluation.clip_boxes, **evaluation.decoding())
    encode, decode = encoder_for(network), decoder_for(network, settings)
    val = batches.val

    def find() -> list[dict[str, Any]]:
        images = val["image"].astype(np.float32) / np.float32(255)
        found = decode(encode(images), val["uniform"], np.zeros(len(images), bool))
        rows = detector.rows(
            {name: keras.ops.convert_to_numpy(array) for name, array in found.items()},
            image_ids=val["image_id"].tolist(),
            source_size=val["source_size"],
            content_size=val["content_size"],
            category_numbers=batches.category_numbers,
        )
        return checked_detections(rows, allow_negative=not evaluation.clip_boxes)

    return find


def ap_of(batches: Batches, detections: list[dict[str, Any]]) -> float | None:
    """COCO AP; None where no engine is installed that computes it."""
    for engine in ENGINES:
        try:
            result = evaluate_detections(batches.truth, detections, engine=engine)
        except ImportError:
            continue
        return result.metrics["AP"]
    return None


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and range of AP by precision, and whether they agree; see this module's docstring.

    `agree` is None without an AP of at least two seeds of both.
    """
    ap = {
        precision: [r["ap"] for r in rows if r["precision"] == precision and r["ap"] is not None]
        for precision in PRECISIONS
    }
    found: dict[str, Any] = {
        precision: {"mean": statistics.fmean(of), "range": max(of) - min(of)}
        for precision, of in ap.items()
        if of
    }
    agree = None
    if all(len(of) > 1 for of in ap.values()):
        means = [found[precision]["mean"] for precision in PRECISIONS]
        spread = found["float32"]["range"]  # What is asked about does not widen it.
        found["difference"], found["spread"] = abs(means[0] - means[1]), spread
        agree = found["difference"] <= spread
    return {**found, "agree": agree}


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"device": device_name(), "runs": rows, "summary": summary(rows)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=Path, required=True, help="of benchmarks.gpu.batches")
    parser.add_argument("--output", type=Path, required=True, help="folder of train.json")
    parser.add_argument("--seeds", default="0,1,2", help="of the runs")
    parser.add_argument("--score", action="store_true", help="only add AP to what was trained")
    given = parser.parse_args(arguments)
    try:
        batches = Batches.load(given.batches)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    if given.score:
        _score(batches, given.output)
        return 0
    trainings = Trainings(batches)
    rows: list[dict[str, Any]] = []
    detections: list[list[dict[str, Any]]] = []
    # By turns, so that what is cut off leaves pairs.
    for seed in map(int, given.seeds.split(",")):
        for precision in PRECISIONS:
            row, found = trainings.train(precision, seed)
            rows.append({**row, "ap": ap_of(batches, found)})
            detections.append(found)
            write_json(given.output / "detections.json", detections)
            write_json(given.output / "train.json", report(rows), indent=1)
    return 0


def _score(batches: Batches, output: Path) -> None:
    """Fills in the AP of runs on a machine that had no engine."""
    trained = json.loads((output / "train.json").read_text())
    detections = json.loads((output / "detections.json").read_text())
    for row, found in zip(trained["runs"], detections, strict=True):
        row["ap"] = ap_of(batches, found)
    trained["summary"] = summary(trained["runs"])
    write_json(output / "train.json", trained, indent=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
