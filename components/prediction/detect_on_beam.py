"""Detections of a split by a Beam job, for models or data that one machine is too slow for.

The job is that of batch prediction: its workers own shards of the records, and what they finished
stays where the job is interrupted.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from components.prediction.options import PredictionOptions
from components.prediction.predict import predict_images
from components.storage.files import open_file
from pix2seq_model.data.categories import category_numbers
from pix2seq_model.data.ground_truth import SplitTruth
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.json_file import parse_json
from pix2seq_model.model_folder.folder import read_model_info


def detect_on_beam(
    model_dir: str,
    examples_dir: str,
    *,
    settings: EvaluationSettings,
    truth: SplitTruth,
    work_dir: str,
    make_pipeline: Callable[[], beam.Pipeline],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Finds with the workers of a Beam job what `evaluate_model` finds in its own process.

    Args:
      model_dir, examples_dir, settings: see `evaluate_model`.
      truth: of the split.
      work_dir: where the job writes, local or in a bucket; the same folder continues it.
      make_pipeline: makes the pipeline.

    Returns:
      COCO results and the image ids of the records, in the records' order. An image that cannot be
      decoded is in neither.

    Raises:
      UserError: see `predict_images`.
    """
    manifest = predict_images(
        PredictionOptions(
            model_dir=model_dir,
            images=(examples_dir,),
            splits=(settings.split,),
            batch_size=settings.batch_size,
            score_threshold=0.0,
            precision=settings.precision,
            resize=settings.resize,
            clip_boxes=settings.clip_boxes,
            decoding={**settings.decoding(), "seed": settings.seed},
        ),
        work_dir,
        make_pipeline=make_pipeline,
        overwrite=True,  # Nobody else has a reason to write there, and nobody could say so.
    )
    # The job's category ids are those of the model's data, the truth's those of this data; what
    # they have in common is the label.
    model_numbers = category_numbers(read_model_info(model_dir).categories)
    numbers = {
        number: truth.category_numbers[label]
        for label, number in model_numbers.items()
        if label in truth.category_numbers
    }
    rows, image_ids = [], []
    for found in _lines(work_dir, manifest):
        image_ids.append(found["image_id"])
        rows += [
            {
                "image_id": truth.image_numbers[found["image_id"]],
                "category_id": numbers[row["category_id"]],
                "bbox": row["bbox"],
                "score": row["score"],
            }
            for row in found["detections"]
            if row["category_id"] in numbers
        ]
    return rows, image_ids


def _lines(folder: str, manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of the job's files, in the order of the shards."""
    for name in sorted(manifest["files"]):
        if name.startswith("detections/") and name.endswith(".jsonl"):
            with open_file(f"{folder}/{name}") as file:
                for line in file:
                    yield parse_json(line, source=f"{folder}/{name}", fix=f"delete {folder}")
