"""The product's training loop around a step, on batches from memory; without TensorFlow."""

from collections.abc import Iterator
from typing import Any

from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.batch_feed import BatchFeed
from pix2seq_model.training.interruption import StopAgreement, StopRequest
from pix2seq_model.training.interval_log import IntervalLog
from pix2seq_model.training.loop import run_loop
from pix2seq_model.training.optimizer import make_schedule
from pix2seq_model.training.periodic_checkpoints import PeriodicCheckpoints
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.run_span import RunSpan
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.skipped_batches import SkippedBatches
from pix2seq_model.training.training_step import TrainingStep


class _Rows:
    """In place of TensorBoard's event files, which TensorFlow writes."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.rows.append({"step": step, **values})


def train_in_loop(
    run: TrainingRun,
    step: TrainingStep,
    batches: Iterator[Any],
    *,
    steps: int,
    steps_per_log: int,
) -> list[dict[str, float]]:
    """Trains as `training.train` does, but that nothing is written.

    Args:
      run: that the step belongs to.
      step: of it.
      batches: of this process' memory; each travels to the device.
      steps: to take.
      steps_per_log: steps of a log interval.

    Returns:
      A row for every log interval, with what TensorBoard would show: loss, images_per_second (of
      all but the first step of the first), input_wait, ...
    """
    span = RunSpan(
        steps=steps,
        batches_per_step=1,
        batch_size=run.settings.images_per_batch,
        first_batch=0,
    )
    feed, summaries = BatchFeed(batches, place=step.place), _Rows()
    with ProgressLine(run.stage, total_steps=steps, batch_size=span.batch_size) as progress:
        run_loop(
            step,
            feed,
            span,
            log=IntervalLog(
                span,
                step,
                feed,
                every_steps=steps_per_log,
                learning_rate=make_schedule(run.settings),
                progress=progress,
                loggers=summaries,  # type: ignore[arg-type]
                history=[],
            ),
            skipped=SkippedBatches(
                step,
                first_batch=0,
                limit=run.settings.max_skipped_batches,
                folder=None,
                image_ids=lambda _: [],
                progress=progress,
            ),
            evaluation=None,
            checkpoints=PeriodicCheckpoints(
                span,
                step,
                every_steps=steps,
                every_minutes=0.0,
                folder=None,
                record={"wall_time_s": 0.0},
            ),
            stop=StopAgreement(StopRequest(), Replicas(), first_batch=0),
        )
    step.synchronize()
    return summaries.rows
