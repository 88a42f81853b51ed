"""The one loop that detects the objects of a split in this process, and its COCO numbers."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from pix2seq_model.data.damage import reading_errors_named
from pix2seq_model.data.ground_truth import SplitTruth
from pix2seq_model.decoding.detector import Detector
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.input_pipeline.datasets import evaluation_dataset
from pix2seq_model.metrics.coco_files import checked_detections, clipped_detections
from pix2seq_model.metrics.coco_metrics import CocoResult, evaluate_detections
from pix2seq_model.metrics.timing import BatchTimes
from pix2seq_model.network.pix2seq import Pix2Seq


def detect_split(
    network: Pix2Seq,
    truth: SplitTruth,
    *,
    settings: EvaluationSettings,
    start: int = 0,
    max_images: int | None = None,
    times: BatchTimes | None = None,
) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Detects objects batch by batch, in the order of the records.

    Args:
      network: the model.
      truth: of the split.
      settings: of decoding.
      start: images to skip.
      max_images: at most so many; all if None.
      times: is told how long the model took for each batch.

    Yields:
      COCO results with the ids of `truth.coco`, checked, and the records' image ids of a batch.
    """
    detector = Detector(
        network,
        seed=settings.seed,
        batch_size=settings.batch_size,
        clip_boxes=settings.clip_boxes,
        **settings.decoding(),
    )
    batches = evaluation_dataset(
        truth.examples_dir,
        split=truth.split,
        image_size=network.model_config.image_size,
        batch_size=settings.batch_size,
        resize=settings.resize,
        start=start,
    )
    left = len(truth.image_numbers) if max_images is None else max_images
    with reading_errors_named(truth.examples_dir, truth.split):
        for batch in batches.as_numpy_iterator():
            image_ids = [image_id.decode() for image_id in batch["image_id"][:left]]
            begun = time.perf_counter()
            rows = detector.detect(
                batch["image"][:left],
                batch["image_key"][:left],
                image_ids=[truth.image_numbers[image_id] for image_id in image_ids],
                source_size=batch["source_size"][:left],
                content_size=batch["content_size"][:left],
                category_numbers=truth.category_numbers,
            )
            if times is not None:
                times.add(len(image_ids), time.perf_counter() - begun)
            yield checked_detections(rows, allow_negative=not settings.clip_boxes), image_ids
            left -= len(image_ids)
            if left <= 0:
                return


@dataclasses.dataclass(frozen=True)
class SplitEvaluation:
    """A network on the first images of a split.

    Attributes:
      result: the COCO numbers.
      image_ids: of the images, as in the truth.
      detections: COCO results, clipped to the images.
    """

    result: CocoResult
    image_ids: list[int]
    detections: list[dict[str, Any]]


def evaluate_network(
    network: Pix2Seq,
    truth: SplitTruth,
    *,
    settings: EvaluationSettings,
    max_images: int | None = None,
) -> SplitEvaluation:
    """Detects and evaluates without writing anything; arguments as of `detect_split`."""
    rows: list[dict[str, Any]] = []
    image_ids: list[int] = []
    for new_rows, new_ids in detect_split(network, truth, settings=settings, max_images=max_images):
        rows += new_rows
        image_ids += [truth.image_numbers[image_id] for image_id in new_ids]
    result = evaluate_detections(truth.coco, rows, image_ids=image_ids)
    if not settings.clip_boxes:
        rows = clipped_detections(rows, truth.coco["images"])
    return SplitEvaluation(result, image_ids, rows)
