"""What a training is logged to: TensorBoard, MLflow, Weights & Biases, by one interface."""

import os
from collections.abc import Callable, Mapping, Sequence

from pix2seq_model.errors import TrainingInterruptedError
from pix2seq_model.training.mlflow_tracker import MLflowTracker
from pix2seq_model.training.scalar_names import named_scalars
from pix2seq_model.training.settings import MLFLOW, TENSORBOARD, WANDB, LoggingSettings
from pix2seq_model.training.tensorboard import Summaries
from pix2seq_model.training.tracker import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    BackgroundTracker,
    TrackedRun,
    Tracker,
    close_trackers,
)
from pix2seq_model.training.wandb_tracker import WandbTracker


class Loggers:
    """Writes rows of the log to each of several places; a context manager, which ends them.

    Pictures go to TensorBoard alone.
    """

    def __init__(
        self,
        settings: LoggingSettings,
        run: TrackedRun | None,
        *,
        logs_dir: str | os.PathLike,
        work_dir: str | os.PathLike,
        warn: Callable[[str], None],
    ) -> None:
        """
        Args:
          settings: which.
          run: what trackers are told of it; None logs nothing, as in all processes but the first.
          logs_dir: of TensorBoard.
          work_dir: of the training, where the trackers' own names of the run are kept.
          warn: is told what cannot be logged.

        Raises:
          UserError: the folder of TensorBoard cannot be written.
        """
        names = settings.loggers if run is not None else ()
        self._summaries = Summaries(logs_dir if TENSORBOARD in names else None, say=warn)
        trackers: list[Tracker] = []
        if MLFLOW in names:
            trackers.append(MLflowTracker(settings.mlflow_tracking_uri))
        if WANDB in names:
            trackers.append(WandbTracker())
        self._trackers = [
            BackgroundTracker(tracker, run, work_dir=work_dir, warn=warn)
            for tracker in trackers
            if run is not None
        ]

    def history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """What was trained before an interruption, for those that do not have it."""
        if self._summaries.is_new:
            for row in rows:
                self._summaries.scalars(int(row["step"]), row)
        for tracker in self._trackers:
            tracker.history([{"step": row["step"], **named_scalars(row)} for row in rows])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values that are shown, see `scalar_names`."""
        self._summaries.scalars(step, values)
        for tracker in self._trackers:
            tracker.scalars(step, named_scalars(values))

    def images(self, step: int, name: str, images) -> None:
        """Logs pictures, see `Summaries.images`."""
        self._summaries.images(step, name, images)

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = (TrainingInterruptedError, KeyboardInterrupt)
        outcome = FINISHED if kind is None else FAILED
        if kind is not None and issubclass(kind, stopped):
            outcome = INTERRUPTED
        self._summaries.close()
        close_trackers(self._trackers, outcome)
