"""COCO AP of a model as it is and exported: float32, 8-bit weights, and Pillow's pixels.

    python benchmarks/onnx_accuracy.py --model=demo/pipeline/serving_model \\
        --images=demo/data/coco/val2017 \\
        --annotations=demo/data/coco/annotations/instances_val2017.json

Prints a row for each, with the share of tokens that are the network's. All see the pixels that
TensorFlow decodes, but for "files": that is what a person gets who hands files to `OnnxDetector`.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.input_pipeline.image_file import prepare_image
from pix2seq_model.metrics.coco_metrics import evaluate_detections
from pix2seq_model.model_folder.onnx_export import export_onnx
from pix2seq_model.model_folder.onnx_folder import ONNX_FILE
from pix2seq_model.model_folder.pushed import find_model_folder
from pix2seq_model.onnx_runner.detector import OnnxDetector
from pix2seq_model.onnx_runner.preprocessing import PreparedImage, prepare_pixels
from pix2seq_model.prediction.image_detector import ImageDetector

_BATCH_SIZE = 16


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--top_k", type=int, help="of the sampling; the model folder's if absent")
    given = parser.parse_args(arguments)
    truth = read_annotation_file(given.annotations).coco
    files = {row["id"]: (given.images / row["file_name"]).read_bytes() for row in truth["images"]}
    decoding = {} if given.top_k is None else {"top_k": given.top_k}
    model_dir = find_model_folder(given.model)
    network = ImageDetector(model_dir, batch_size=_BATCH_SIZE, **decoding)
    size, resize = network.image_size, network.resize
    decoded = [prepare_image(file, image_size=size, resize=resize) for file in files.values()]
    pixels = [prepare_pixels(one.pixels, image_size=size, resize=resize) for one in decoded]
    expected, rows = [], []
    for some in _batches(decoded):
        found = network.detector.generate(
            np.stack([image.image for image in some]), np.array([image.key for image in some])
        )
        expected.append(found["tokens"])
        rows += network.detect(some)
    tokens = np.concatenate(expected)
    _print("network, TensorFlow", rows, 1.0, files=files, truth=truth)
    with tempfile.TemporaryDirectory() as scratch:
        exported = export_onnx(model_dir, scratch, int8="both", **decoding)
        plain, small = exported.graphs["float32"], exported.graphs["int8"]
        # As --int8=decoder would write it, and the other way round.
        mixed = {
            "int8, decoder alone": {**small, "encoder": plain["encoder"]},
            "int8, encoder alone": {**plain, "encoder": small["encoder"]},
        }
        everything = dataclasses.replace(exported, graphs={**exported.graphs, **mixed})
        write_json(Path(scratch) / ONNX_FILE, everything.as_json())
        for precision in everything.graphs:
            detector = OnnxDetector(scratch, precision=precision)
            _print(precision, *_detect(detector, pixels, tokens), files=files, truth=truth)
        for precision in exported.graphs:
            detector = OnnxDetector(scratch, precision=precision)
            prepared = [detector.prepare(file) for file in files.values()]
            found = _detect(detector, prepared, tokens)
            _print(f"{precision}, files", *found, files=files, truth=truth)


def _detect(
    detector: OnnxDetector, images: Sequence[PreparedImage], expected: np.ndarray
) -> tuple[list[list[dict[str, Any]]], float]:
    """Rows of each image, and the share of equal tokens."""
    batches = list(_batches(images))
    rows = [found for some in batches for found in detector.detect(some)]
    tokens = np.concatenate([detector.generate(some)["tokens"] for some in batches])
    return rows, float(np.mean(tokens == expected))


def _batches(images: Sequence[Any]) -> list[Sequence[Any]]:
    return [images[at : at + _BATCH_SIZE] for at in range(0, len(images), _BATCH_SIZE)]


def _print(
    name: str, rows: list[list[dict[str, Any]]], equal: float, *, files: dict, truth: dict
) -> None:
    names = ("category_id", "bbox", "score")
    results = [
        {"image_id": image_id, **{name: row[name] for name in names}}
        for image_id, found in zip(files, rows, strict=True)
        for row in found
    ]
    ap = evaluate_detections(truth, results).to_json()["AP"]
    print(f"| {name} | {ap:.4f} | {100 * equal:.2f} % |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
