"""How long the COCO numbers take with each engine, on data of the size of COCO's val2017.

    python benchmarks/evaluate.py --images=5000 --detections=170

Draws seeded ground truth (80 classes, as many objects and classes an image as COCO has, some
crowds) and detections: half are objects moved a little, half are anywhere and are of any class
(--guess=any) or of few, mostly of those in the image (--guess=few). Computes all numbers with both
engines once and says how far apart results and times are. pycocotools runs on one processor core,
hotcoco partly on all of them: the processor's seconds are those of all cores together.
"""

import argparse
import json
import sys
import time

import numpy as np

from pix2seq_model.metrics.coco_metrics import METRIC_KEYS, evaluate_detections

_NUM_CLASSES = 80
_SIDE = 640.0  # pixels
# COCO's means (Lin et al., "Microsoft COCO: Common Objects in Context", 2014, section 5).
_OBJECTS_PER_IMAGE, _CLASSES_PER_IMAGE = 7.7, 3.5


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=170, help="of an image")
    parser.add_argument("--guess", choices=("any", "few"), default="any")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    truth, detections = draw_data(
        np.random.default_rng(given.seed),
        num_images=given.images,
        per_image=given.detections,
        guess=given.guess,
    )
    print(
        f"{len(truth['images']):,} images, {len(truth['annotations']):,} objects, "
        f"{len(detections):,} detections",
        flush=True,
    )
    seconds, processor, results = {}, {}, {}
    for engine in ("hotcoco", "pycocotools"):
        start, busy = time.perf_counter(), time.process_time()
        results[engine] = evaluate_detections(truth, detections, engine=engine)
        seconds[engine] = time.perf_counter() - start
        processor[engine] = time.process_time() - busy
        print(
            f"{engine:<12} {seconds[engine]:8.1f} s, {processor[engine]:8.1f} s of a processor",
            flush=True,
        )
    apart = max(
        abs(results["hotcoco"].metrics[key] - results["pycocotools"].metrics[key])
        for key in METRIC_KEYS
    )
    report = {
        "images": given.images,
        "detections_per_image": given.detections,
        "guess": given.guess,
        "seconds": {engine: round(value, 2) for engine, value in seconds.items()},
        "processor_seconds": {engine: round(value, 2) for engine, value in processor.items()},
        "times_faster": round(seconds["pycocotools"] / seconds["hotcoco"], 1),
        "times_faster_processor": round(processor["pycocotools"] / processor["hotcoco"], 1),
        "largest_difference": apart,
        "AP": results["hotcoco"].metrics["AP"],
    }
    print(json.dumps(report))
    return 0 if apart <= 1e-9 else 1


def draw_data(
    rng: np.random.Generator, *, num_images: int, per_image: int, guess: str
) -> tuple[dict, list[dict]]:
    """Ground truth and detections; the same generator state gives the same data."""
    annotations, detections = [], []
    for image_id in range(1, num_images + 1):
        count = int(rng.poisson(_OBJECTS_PER_IMAGE))
        present = rng.integers(1, _NUM_CLASSES + 1, 1 + rng.poisson(_CLASSES_PER_IMAGE - 1))
        boxes, classes = _boxes(rng, count), rng.choice(present, count)
        crowd = rng.random(count) < 0.01
        for box, class_id, is_crowd in zip(boxes.tolist(), classes.tolist(), crowd.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_id,
                    "bbox": box,
                    "area": box[2] * box[3] * 0.7,
                    "iscrowd": int(is_crowd),
                }
            )
        near = rng.integers(0, count, per_image // 2) if count else np.zeros(0, int)
        moved = np.abs(boxes[near] * rng.normal(1, 0.08, (len(near), 4)))
        found = np.concatenate([moved, _boxes(rng, per_image - len(near))])
        guesses = rng.integers(1, _NUM_CLASSES + 1, per_image - len(near))
        if guess == "few":
            guesses = rng.choice(np.concatenate([present, guesses[: len(present)]]), len(guesses))
        named = np.concatenate([classes[near], guesses])
        scores = rng.random(per_image) ** 2
        for box, class_id, score in zip(found.tolist(), named.tolist(), scores.tolist()):
            detections.append(
                {"image_id": image_id, "category_id": class_id, "bbox": box, "score": score}
            )
    truth = {
        "images": [
            {"id": i, "width": int(_SIDE), "height": int(_SIDE)} for i in range(1, num_images + 1)
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, _NUM_CLASSES + 1)],
        "annotations": annotations,
    }
    return truth, detections


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) xywh in pixels, of all of COCO's sizes."""
    sides = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
    corner = rng.random((count, 2)) * (_SIDE - sides)
    return np.concatenate([corner, sides], axis=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
