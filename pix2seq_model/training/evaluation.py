"""Short evaluations while training goes on: COCO AP on some images, pictures, the best weights.

With a moving average on, it is the average that is evaluated and kept, as at the end.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from PIL import Image

from pix2seq_model.data.ground_truth import read_images, read_split_truth
from pix2seq_model.evaluation.detection import evaluate_network
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.progress import ProgressLine
from pix2seq_model.reports.drawing import (
    contact_sheet,
    detection_boxes,
    draw_boxes,
    read_rgb,
    truth_boxes,
)
from pix2seq_model.training.tensorboard import Summaries
from pix2seq_model.training.training_model import TrainingModel
from pix2seq_model.training.training_step import TrainingStep

_NUM_PICTURES = 6
_SHOWN_SCORE = 0.3
_METRICS = ("AP", "AP50")


class SplitEvaluator:
    """Evaluates a network on the first images of a split; records are in random order."""

    def __init__(
        self,
        network: keras.Model,
        examples_dir: str | os.PathLike,
        *,
        split: str,
        max_images: int | None = None,
        settings: EvaluationSettings,
    ) -> None:
        """
        Args:
          network: a Pix2Seq, whose weights may change between evaluations.
          examples_dir: examples folder.
          split: of it.
          max_images: how many images; all if None.
          settings: of decoding.

        Raises:
          DataError: the examples cannot be used.
        """
        self._truth = read_split_truth(examples_dir, split)
        self._network, self._max_images, self._settings = network, max_images, settings

    def __call__(self) -> tuple[dict[str, float], np.ndarray]:
        """AP and AP50, and a sheet of pictures: the truth next to what was found."""
        found = evaluate_network(
            self._network, self._truth, settings=self._settings, max_images=self._max_images
        )
        metrics = {name: found.result.metrics[name] for name in _METRICS}
        return metrics, self._pictures(found.image_ids[:_NUM_PICTURES], found.detections)

    def _pictures(self, image_ids: list[int], detections: list[dict]) -> np.ndarray:
        truth, names = self._truth, self._truth.category_names
        pictures = []
        encoded_images = read_images(
            truth.examples_dir, truth.split, truth.coco["images"], image_ids
        )
        for image_id, encoded in encoded_images.items():
            image: Image.Image = read_rgb(encoded)
            objects = [row for row in truth.coco["annotations"] if row["image_id"] == image_id]
            found = [row for row in detections if row["image_id"] == image_id]
            shown = detection_boxes(found, names, score_threshold=_SHOWN_SCORE)
            for boxes in (truth_boxes(objects, names), shown):
                pictures.append(draw_boxes(image, boxes, longer_side=320))
        captions = ["truth", f"found, score {_SHOWN_SCORE} and above"] * len(encoded_images)
        return np.asarray(contact_sheet(pictures, captions=captions, columns=4))


class TrainingEvaluation:
    """Evaluates every few steps and at the end.

    The numbers join the history's row of the same step, which must be there: the loop evaluates
    after it has written the log, at a multiple of its interval. `record["best"]` is {"step", "AP"}
    of the best.

    Attributes:
      every_steps: steps between two evaluations.
    """

    def __init__(
        self,
        step: TrainingStep,
        evaluate: Callable[[], tuple[dict[str, float], np.ndarray]],
        *,
        every_steps: int,
        record: dict[str, Any],
        progress: ProgressLine,
        summaries: Summaries,
        save_best: Callable[[], object] | None,
    ) -> None:
        """
        Args:
          step: that trains the network.
          evaluate: returns the metrics and a picture of the network as it is.
          every_steps: steps between two evaluations.
          record: of the run, with its "history".
          progress, summaries: told of the results.
          save_best: saves the network as it is; None keeps no best.
        """
        self.every_steps = every_steps
        self._step, self._evaluate, self._save_best = step, evaluate, save_best
        self._record, self._progress, self._summaries = record, progress, summaries

    def run(self) -> None:
        """Evaluates the network as it is now."""
        self._step.synchronize()
        with _averaged_weights(self._step.model):
            metrics, picture = self._evaluate()
            row = self._record["history"][-1]
            row.update(metrics)
            best = self._record.get("best")
            is_best = best is None or metrics["AP"] > best["AP"]
            if is_best:
                self._record["best"] = {"step": row["step"], "AP": metrics["AP"]}
                if self._save_best:
                    self._save_best()
        self._summaries.scalars(row["step"], metrics)
        self._summaries.images(row["step"], "detections", picture[None])
        self._progress.message(
            f"step {row['step']}: AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}"
            + (" (best so far)" if is_best else "")
        )


@contextlib.contextmanager
def _averaged_weights(model: TrainingModel) -> Iterator[None]:
    """Puts the moving average, if there is one, in place of the weights for a while."""
    if not model.optimizer.use_ema:
        yield
        return
    variables = model.trainable_variables
    raw = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)
