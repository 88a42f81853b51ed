"""What stopping after noise and float16 storage cost in AP and bring in time, on a trained model.

    python benchmarks/decoding_settings.py --model=demo/pipeline/serving_model \
        --examples=demo/pipeline/FinetuneExamples/examples/6 --batch_size=1,16

Evaluates the model on a split of its records with each setting, one after the other in one process,
and prints a row for each: AP, AP50, seconds of detection after compilation (the median of three
rounds), how many times as fast that is as float32 to the end, and how many tokens were made. Tokens
are drawn as in the model folder.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from pix2seq_model.data.ground_truth import SplitTruth, read_split_truth
from pix2seq_model.decoding.detector import Detector
from pix2seq_model.input_pipeline.datasets import evaluation_dataset
from pix2seq_model.metrics.coco_metrics import evaluate_detections
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.model_folder.pushed import find_model_folder

_STORAGES = ("float32", "float16")
_ROUNDS = 3


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model folder, or a pushed version")
    parser.add_argument("--examples", required=True, help="folder of converted records")
    parser.add_argument("--split", default="val")
    parser.add_argument("--batch_size", default="16", help="several with commas")
    parser.add_argument("--stop_after_noise", default="0,1,3,5,10")
    parser.add_argument("--max_images", type=int, default=150)
    given = parser.parse_args(arguments)
    network, info = load_model_folder(str(find_model_folder(given.model)))
    truth = read_split_truth(given.examples, given.split)
    print("| together | storage | stop_after_noise | AP | AP50 | s | times as fast | tokens |")
    print("|---|---|---|---|---|---|---|---|")
    for batch_size in map(int, given.batch_size.split(",")):
        batches = list(
            evaluation_dataset(
                given.examples,
                split=given.split,
                image_size=network.model_config.image_size,
                batch_size=batch_size,
                resize=info.resize,
            )
            .take(-(-given.max_images // batch_size))
            .as_numpy_iterator()
        )
        plain_s = None
        for storage in _STORAGES:
            for stop in map(int, given.stop_after_noise.split(",")):
                if storage == "float16" and stop:
                    continue
                decoding = info.decoding_with(
                    {"stop_after_noise": stop, "decoder_storage": storage}
                )
                detector = Detector(network, batch_size=batch_size, **decoding)
                ap, ap50, seconds, tokens = measure(detector, batches, truth)
                plain_s = plain_s or seconds  # The first is float32 to the end.
                cells = f"{ap:.4f} | {ap50:.4f} | {seconds:.2f} | {plain_s / seconds:.2f}"
                print(f"| {batch_size} | {storage} | {stop} | {cells} | {tokens:.0f} |", flush=True)
    return 0


def measure(
    detector: Detector, batches: list[dict], truth: SplitTruth
) -> tuple[float, float, float, float]:
    """AP, AP50, seconds, tokens an image."""
    detector.generate(batches[0]["image"], batches[0]["image_key"])  # compiles
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        found = [detector.generate(batch["image"], batch["image_key"]) for batch in batches]
        times.append(time.perf_counter() - start)
    rows, image_ids = [], []
    for batch, result in zip(batches, found, strict=True):
        ids = [truth.image_numbers[image_id.decode()] for image_id in batch["image_id"]]
        image_ids += ids
        rows += detector.rows(
            result,
            image_ids=ids,
            source_size=batch["source_size"],
            content_size=batch["content_size"],
            category_numbers=truth.category_numbers,
        )
    metrics = evaluate_detections(truth.coco, rows, image_ids=image_ids).metrics
    tokens = np.mean([np.count_nonzero(result["tokens"], axis=1).mean() for result in found])
    return metrics["AP"], metrics["AP50"], statistics.median(times), float(tokens)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
