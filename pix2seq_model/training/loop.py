"""The training loop: every call that happens between two steps, in its order.

What a step computes stays on the devices. Nothing of it is read between two lines of the log, so
that the devices never wait for this process.
"""

from typing import TYPE_CHECKING

from pix2seq_model.training.batch_feed import BatchFeed
from pix2seq_model.training.interruption import StopAgreement
from pix2seq_model.training.interval_log import IntervalLog
from pix2seq_model.training.periodic_checkpoints import PeriodicCheckpoints
from pix2seq_model.training.run_span import RunSpan
from pix2seq_model.training.skipped_batches import SkippedBatches
from pix2seq_model.training.training_step import TrainingStep

if TYPE_CHECKING:
    # It imports TensorFlow, which the loop on JAX does without.
    from pix2seq_model.training.evaluation import TrainingEvaluation


def run_loop(
    step: TrainingStep,
    feed: BatchFeed,
    span: RunSpan,
    *,
    log: IntervalLog,
    skipped: SkippedBatches,
    evaluation: "TrainingEvaluation | None",
    checkpoints: PeriodicCheckpoints,
    stop: StopAgreement,
) -> int:
    """Trains until the span's end, or until asked to stop or early, with the state saved.

    Returns:
      The number of the last batch.
    """
    if span.first_batch >= span.total_batches or (evaluation and evaluation.stops_training):
        return span.first_batch
    batch = feed.next()
    for number in span:
        step(batch)
        if not span.is_last(number):
            # Fetched, and on its way to the devices, while they compute the step.
            batch = feed.next()
        log.tick(number)
        if span.is_due(number, log.every_steps):
            log.write(number)
            skipped.check(number)
        if evaluation and span.is_due(number, evaluation.every_steps):
            evaluation.run()
        # A checkpoint holds what the others did before it.
        is_early = evaluation is not None and evaluation.stops_training
        is_stopped = is_early or (not span.is_last(number) and stop.is_agreed(number))
        if is_stopped or checkpoints.is_due(number):
            checkpoints.save(number)
        if is_stopped:
            return number
    return span.total_batches
