"""Short evaluations while training goes on: AP and loss on some images, pictures, best weights.

With a moving average on, it is the average that is evaluated and kept, as at the end. Split, batch
size, precision and decoding are those of the last evaluation.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from pix2seq_model.data.ground_truth import read_images, read_split_truth
from pix2seq_model.evaluation.detection import evaluate_network
from pix2seq_model.model_folder.folder import save_model_folder
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.reports.drawing import (
    contact_sheet,
    detection_boxes,
    draw_boxes,
    read_rgb,
    truth_boxes,
)
from pix2seq_model.training.early_stopping import (
    EarlyStopping,
    follow_first,
    measured_as,
    note_measured,
    stopped_at,
)
from pix2seq_model.training.finished_model import model_info
from pix2seq_model.training.job import TrainingJob
from pix2seq_model.training.training_model import TrainingModel
from pix2seq_model.training.training_step import TrainingStep
from pix2seq_model.training.validation_loss import ValidationLoss

_NUM_PICTURES = 6
_SHOWN_SCORE = 0.3
_METRICS = ("AP", "AP50")


class TrainingEvaluation:
    """Evaluates the first images of a split, whose order is random, every few steps and at the end.

    The numbers join the history's row of the same step, which must be there: the loop evaluates
    after it has written the log, at a multiple of its interval. `record["best"]` is {"step", "AP"}
    of the best, of equal ones the last; None where AP cannot be measured on these images.

    Attributes:
      every_steps: steps between two evaluations.
    """

    def __init__(
        self,
        job: TrainingJob,
        step: TrainingStep,
        record: dict[str, Any],
        *,
        check: Callable[[], None],
    ) -> None:
        """
        Args:
          job: the run.
          step: that trains the network.
          record: of the run, with its "history".
          check: raises if this process may no longer write the run's folders.

        Raises:
          DataError: the examples cannot be used.
        """
        self.every_steps = job.run.settings.evaluate_every_steps
        self._job, self._step, self._record, self._check = job, step, record, check
        self._truth = read_split_truth(job.examples_dir, job.run.evaluation.split)
        self._network: Pix2Seq | None = None
        self._early_stopping = EarlyStopping(job.run.settings, record)
        self._loss = None
        if job.run.settings.validation_loss:
            self._loss = ValidationLoss(job, step.model.network)

    @property
    def stops_training(self) -> bool:
        """Whether an evaluation, perhaps of an earlier call, has ended the training early."""
        return stopped_at(self._record) is not None

    def run(self) -> None:
        """Evaluates the network as it is now."""
        job, network = self._job, self._step.model.network
        self._step.synchronize()
        with _averaged_weights(self._step.model):
            metrics, picture = self._evaluate()
            if self._loss is not None:
                metrics |= self._loss.measure()
            row, best = self._record["history"][-1], self._record.get("best")
            row.update(metrics)
            how = measured_as(job.run.settings, job.run.evaluation)
            note_measured(self._record, row["step"], measured=how)
            # COCO's -1: nothing to find, so no weights are better than others.
            measured = metrics["AP"] >= 0
            # Of equal ones the last: early on they are all 0.
            is_best = measured and (best is None or metrics["AP"] >= best["AP"])
            if is_best:
                self._record["best"] = {"step": row["step"], "AP": metrics["AP"]}
                if job.run.settings.keep_best and job.replicas.is_chief:
                    self._check()
                    save_model_folder(job.best_dir, network, info=model_info(job, network))
        job.loggers.scalars(row["step"], metrics)
        job.loggers.images(row["step"], "detections", picture[None])
        split = job.run.evaluation.split
        said = f"AP cannot be measured: none of the images looked at in {split!r} has a box"
        if measured:
            said = f"AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}"
        if self._loss is not None:
            said += f", loss {metrics['validation_loss']:.4f}"
        job.progress.message(f"step {row['step']}: {said}" + " (best so far)" * is_best)
        if why := self._early_stopping.update(row["step"], metrics):
            job.progress.message(why)
        if job.run.settings.early_stopping_patience:
            # All of them stop, or none, however the last digits of their metrics differ.
            stops = job.replicas.gather([int(self.stops_training)])[0, 0]
            follow_first(self._record, row["step"], stops=bool(stops))

    def _evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        """AP and AP50, and a sheet of pictures: the truth next to what was found."""
        run = self._job.run
        found = evaluate_network(
            self._evaluated(),
            self._truth,
            settings=run.evaluation,
            max_images=run.settings.evaluate_images,
        )
        metrics = {name: found.result.metrics[name] for name in _METRICS}
        return metrics, self._pictures(found.image_ids[:_NUM_PICTURES], found.detections)

    def _evaluated(self) -> Pix2Seq:
        """The network as it is now, in the precision of the evaluation."""
        trained, run = self._step.model.network, self._job.run
        precision = run.evaluation.precision
        if trained.compute_dtype == precision:
            return trained
        if self._network is None:
            self._network = build_model(trained.model_config, run.vocabulary, precision=precision)
        for weight, value in zip(self._network.weights, trained.weights, strict=True):
            weight.assign(keras.ops.convert_to_numpy(value))
        return self._network

    def _pictures(self, image_ids: list[int], detections: list[dict]) -> np.ndarray:
        truth, names = self._truth, self._truth.category_names
        pictures = []
        encoded_images = read_images(
            truth.examples_dir, truth.split, truth.coco["images"], image_ids
        )
        for image_id, encoded in encoded_images.items():
            image = read_rgb(encoded)
            objects = [row for row in truth.coco["annotations"] if row["image_id"] == image_id]
            found = [row for row in detections if row["image_id"] == image_id]
            shown = detection_boxes(found, names, score_threshold=_SHOWN_SCORE)
            for boxes in (truth_boxes(objects, names), shown):
                pictures.append(draw_boxes(image, boxes, longer_side=320))
        captions = ["truth", f"found, score {_SHOWN_SCORE} and above"] * len(encoded_images)
        return np.asarray(contact_sheet(pictures, captions=captions, columns=4))


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
