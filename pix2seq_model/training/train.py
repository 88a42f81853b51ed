"""Trains a Pix2Seq network: one stage, from examples to a model folder.

To be read from top to bottom. Pretraining and fine-tuning are the same program with other settings.
A step is an update of the weights; it takes one batch, or several whose gradients are accumulated.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.accelerators import check_accelerators, leave_to_backend
from pix2seq_model.data.box_statistics import crowded_images
from pix2seq_model.data.damage import reading_errors_named
from pix2seq_model.data.manifest import read_dataset_info, read_statistics
from pix2seq_model.errors import ConfigError, DataError, TrainingInterruptedError
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.model_folder.folder import ModelInfo, read_model_info
from pix2seq_model.model_folder.transfer import Transfer, path_in_network, take_base_weights
from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.batch_feed import BatchFeed
from pix2seq_model.training.checkpoint import (
    CheckpointFolder,
    checkpoint_steps,
    checkpoints_of,
    put_state,
)
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.damaged_images import DamagedImages
from pix2seq_model.training.earlier_runs import interrupted_run
from pix2seq_model.training.early_stopping import judge_again, measured_as, stopped_at
from pix2seq_model.training.evaluation import TrainingEvaluation
from pix2seq_model.training.finished_model import make_model_folder, write_model
from pix2seq_model.training.interruption import StopAgreement, StopRequest
from pix2seq_model.training.interval_log import IntervalLog
from pix2seq_model.training.job import TrainingJob
from pix2seq_model.training.loggers import Loggers
from pix2seq_model.training.loop import run_loop
from pix2seq_model.training.optimizer import make_schedule
from pix2seq_model.training.periodic_checkpoints import PeriodicCheckpoints
from pix2seq_model.training.pictures import training_pictures
from pix2seq_model.training.replicas import Replicas, join_replicas
from pix2seq_model.training.run_record import (
    check_same_run,
    ended_early_by,
    note_finished,
    note_unfinished,
    run_identity,
    tracked_run,
)
from pix2seq_model.training.run_span import RunSpan
from pix2seq_model.training.settings import StageSettings, TrainingRun, check_freeze
from pix2seq_model.training.skipped_batches import SkippedBatches
from pix2seq_model.training.stall_watch import StallWatch
from pix2seq_model.training.start_report import say_what_runs
from pix2seq_model.training.tracker import TrackedRun
from pix2seq_model.training.training_model import TrainingModel, frozen_layers
from pix2seq_model.training.training_step import TrainingStep, fresh_step


def train(
    run: TrainingRun,
    *,
    examples_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    work_dir: str | os.PathLike,
    logs_dir: str | os.PathLike,
    split: str | None = None,
    base_model_dir: str | os.PathLike | None = None,
    export: bool = True,
    accelerators: int | None = None,
    compiled_steps: CompiledSteps | None = None,
) -> ModelInfo:
    """Trains one stage and writes its model folder; continues where an earlier call was stopped.

    All folders may be local or gs://.

    Args:
      run: what to train.
      examples_dir: examples folder.
      model_dir: where the model goes.
      work_dir: where checkpoints go. A run continues from those it finds there.
      logs_dir: TensorBoard logs.
      split: of the examples; that of the settings if None.
      base_model_dir: model folder to start from; random weights if None.
      export: write the SavedModel too.
      accelerators: GPUs or TPUs that this machine must have; None: whatever there is.
      compiled_steps: of earlier calls in this process, to use and to add to; for one device.

    Returns:
      What the model folder says of the model.

    Raises:
      UserError: data, base model, settings or folders cannot be used; says what to do.
      TrainingInterruptedError: stopped by a signal, with the state saved.
    """
    check_freeze(run.stage, run.settings.freeze, has_start=bool(base_model_dir))
    replicas = _join(run, accelerators)
    data = read_dataset_info(examples_dir)
    base_info = read_model_info(os.fspath(base_model_dir)) if base_model_dir else None
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        progress = _progress_line(run, replicas)
        lock = FolderLock(work_dir)
        identity, tracked = None, None
        if replicas.is_chief:
            stack.enter_context(lock)
            identity = run_identity(run, data=data, base_model=base_info)
            check_same_run(work_dir, identity)
            tracked = tracked_run(run, identity, work_dir=work_dir)
            make_model_folder(model_dir)
        job = TrainingJob(
            run=run,
            replicas=replicas,
            examples_dir=examples_dir,
            split=split or run.settings.split,
            data=data,
            base_model_dir=base_model_dir,
            base_info=base_info,
            model_dir=model_dir,
            work_dir=work_dir,
            progress=stack.enter_context(progress),
            loggers=stack.enter_context(
                _loggers(run, tracked, logs_dir=logs_dir, work_dir=work_dir, progress=progress)
            ),
        )
        checkpoints = CheckpointFolder(checkpoints_of(work_dir), keep=run.settings.keep_checkpoints)
        if identity is not None:
            _say_what_starts(job, checkpoints, identity)
        step = _prepare_step(job, compiled_steps)
        span, record = _continue(job, step.model, checkpoints)
        if replicas.is_chief and stopped_at(record) is None:
            note_unfinished(work_dir, check=lock.check)
        batch = _train_steps(job, step, span, record, checkpoints, stop, check=lock.check)
        if not span.is_last(batch) and stopped_at(record) is None:
            raise _interrupted(job, stop, step=span.step(batch))
        lock.check()
        if replicas.is_chief:
            note_finished(run, work_dir, batches=batch)
        return write_model(job, step.model.network, record, export=export)


def is_trained(
    settings: StageSettings, work_dir: str | os.PathLike, *, evaluation: EvaluationSettings
) -> bool:
    """Whether an earlier call came to the end of a run: what is left is to write its model.

    Args:
      settings: of the stage.
      work_dir: of the run.
      evaluation: how is measured while training.
    """
    steps = checkpoint_steps(work_dir)
    if steps[-1:] == [settings.steps * settings.accumulation_steps]:
        return True
    return bool(steps) and ended_early_by(settings, evaluation, work_dir)


def _is_trained(run: TrainingRun, work_dir: str | os.PathLike) -> bool:
    return is_trained(run.settings, work_dir, evaluation=run.evaluation)


# ---- The devices and folders. --------------------------------------------------------------------


def _join(run: TrainingRun, accelerators: int | None) -> Replicas:
    """Takes the devices, and joins the processes that share the batches."""
    leave_to_backend()
    replicas = join_replicas()
    if accelerators is not None:
        check_accelerators(accelerators)
    replicas.check_share(
        run.settings.batch_size,
        accumulation_steps=run.settings.accumulation_steps,
        name=f"{run.stage}.batch_size",
    )
    return replicas


def _progress_line(run: TrainingRun, replicas: Replicas) -> ProgressLine:
    return ProgressLine(
        run.stage,
        total_steps=run.settings.steps,
        batch_size=run.settings.batch_size,
        messages_only=not replicas.is_chief,
    )


def _loggers(
    run: TrainingRun,
    tracked: TrackedRun | None,
    *,
    logs_dir: str | os.PathLike,
    work_dir: str | os.PathLike,
    progress: ProgressLine,
) -> Loggers:
    logs = epath.Path(logs_dir) / run.stage
    return Loggers(run.logging, tracked, logs_dir=logs, work_dir=work_dir, warn=progress.message)


def _say_what_starts(
    job: TrainingJob, checkpoints: CheckpointFolder, identity: dict[str, Any]
) -> None:
    """Tells of what an earlier run left, of objects that are left out, and of what runs where."""
    if _is_trained(job.run, job.work_dir):
        return
    if not checkpoints.steps() and (
        earlier := interrupted_run(job.work_dir, identity, stage=job.run.stage)
    ):
        job.progress.message(earlier)
    _say_what_is_left_out(job)
    say_what_runs(job.run, replicas=job.replicas, say=job.progress.message)


def _say_what_is_left_out(job: TrainingJob) -> None:
    """Tells of images with more objects than a sequence holds, if the conversion counted them."""
    statistics: dict[str, Any] = {}
    with contextlib.suppress(DataError):  # Records of another program have none.
        statistics = read_statistics(job.examples_dir)
    per_image = statistics.get(job.split, {}).get("objects_per_image", {})
    text = crowded_images(per_image, max_objects=job.run.settings.sequence.max_objects)
    if text:
        job.progress.message(f"warning: {job.split}: {text}")


# ---- The network, and what trains it. ------------------------------------------------------------


def _prepare_step(job: TrainingJob, compiled_steps: CompiledSteps | None) -> TrainingStep:
    """The step of a network with the base model's weights, or with fresh ones."""
    make = functools.partial(fresh_step, job.run, replicas=job.replicas)
    step = make() if compiled_steps is None else compiled_steps.take(job.run, make)
    if job.base_model_dir:
        network = step.model.network
        transfer, _ = take_base_weights(network, job.base_model_dir)
        _refuse_frozen_random(job, network, transfer)
        if not _is_trained(job.run, job.work_dir):
            start = f"{job.run.stage} starts from {job.base_model_dir}"
            job.progress.message(f"{start}: {transfer.text()}")
    return step


def _refuse_frozen_random(job: TrainingJob, network: Pix2Seq, transfer: Transfer) -> None:
    """
    Raises:
      ConfigError: weights that are frozen have no value in the base model.
    """
    stage, freeze = job.run.stage, job.run.settings.freeze
    frozen = [v for layer in frozen_layers(network, freeze) for v in layer.variables]
    paths = [f"{path_in_network(variable)}:" for variable in frozen]
    if random := [line for line in transfer.left_out if line.startswith(tuple(paths))]:
        raise ConfigError(
            f"{stage}.freeze={freeze} would keep random weights, which {job.base_model_dir} does "
            f"not hold: {'; '.join(random[:3])} ({len(random)} in all). Set the config's model to "
            f"the same {freeze}, or leave out {stage}.freeze."
        )


# ---- What an earlier call left. ------------------------------------------------------------------


def _continue(
    job: TrainingJob, model: TrainingModel, checkpoints: CheckpointFolder
) -> tuple[RunSpan, dict[str, Any]]:
    """Restores the latest checkpoint; returns what is left to train, and the record so far."""
    settings = job.run.settings
    first_batch = 0
    record: dict[str, Any] = {"history": [], "wall_time_s": 0.0, "restarts": 0, "best": None}
    state = checkpoints.restore(warn=job.progress.message)
    if state is not None:
        put_state(model, state)
        first_batch, record = state.step, state.record
        record["restarts"] += 1
    job.replicas.check_same(first_batch, "the step to continue at")
    span = RunSpan(
        steps=settings.steps,
        batches_per_step=settings.accumulation_steps,
        batch_size=settings.images_per_batch,
        first_batch=first_batch,
    )
    if first_batch:
        last = span.step(first_batch)
        how = measured_as(settings, job.run.evaluation)
        judge_again(settings, record, step=last, measured=how, say=job.progress.message)
    if first_batch and not span.is_last(first_batch) and stopped_at(record) is None:
        job.progress.message(
            f"{job.run.stage} continues at step {span.step(first_batch)} of {span.steps}."
        )
    job.loggers.history(record["history"])
    return span, record


# ---- The input. ----------------------------------------------------------------------------------


def _batches(job: TrainingJob, first_batch: int) -> Generator[Any, None, None]:
    """The batches of the run from one of them on; the very first is shown in TensorBoard."""
    batches = DamagedImages(job).batches(first_batch)
    if job.replicas.is_chief and not first_batch:
        batch = next(batches)
        _show_examples(job, batch)
        yield batch
    yield from batches


def _show_examples(job: TrainingJob, batch: Any) -> None:
    inputs, targets, _ = batch
    sheet = training_pictures(
        np.asarray(inputs["image"]),
        np.asarray(targets),
        vocabulary=job.run.vocabulary,
        names=job.data.category_names(),
    )
    job.loggers.images(0, "training examples", sheet[None])


# ---- Training. -----------------------------------------------------------------------------------


def _interrupted(job: TrainingJob, stop: StopRequest, *, step: int) -> TrainingInterruptedError:
    """What a run that was stopped before its end says."""
    return TrainingInterruptedError(
        f"{job.run.stage} was stopped by {stop.received or 'another worker'} at step "
        f"{step} of {job.run.settings.steps}; its state is in {job.work_dir}. "
        "Run the same command to continue."
    )


def _train_steps(
    job: TrainingJob,
    step: TrainingStep,
    span: RunSpan,
    record: dict[str, Any],
    checkpoints: CheckpointFolder,
    stop: StopRequest,
    *,
    check: Callable[[], None],
) -> int:
    """Trains until the end, or until asked to stop; returns the number of the last batch."""
    settings, is_chief = job.run.settings, job.replicas.is_chief
    batches = _batches(job, span.first_batch)
    feed = BatchFeed(batches, place=step.place)
    log = IntervalLog(
        span,
        step,
        feed,
        every_steps=settings.steps_per_log,
        learning_rate=make_schedule(settings),
        progress=job.progress,
        loggers=job.loggers,
        history=record["history"],
    )
    skipped = SkippedBatches(
        step,
        first_batch=span.first_batch,
        limit=settings.max_skipped_batches,
        folder=job.work_dir if is_chief else None,
        image_ids=job.image_ids,
        progress=job.progress,
    )
    periodic_checkpoints = PeriodicCheckpoints(
        span,
        step,
        every_steps=settings.checkpoint_every_steps,
        every_minutes=settings.checkpoint_every_minutes,
        folder=checkpoints if is_chief else None,
        check=check,
        record=record,
    )
    evaluation = None
    if settings.evaluate_every_steps:
        evaluation = TrainingEvaluation(job, step, record, check=check)
    source = f"split {job.split!r} of {job.examples_dir}"
    with (
        # Its threads read on otherwise while an error is on its way, and as long as it is kept.
        contextlib.closing(batches),
        job.replicas.losses_named(),
        StallWatch(feed, source, say=job.progress.message),
        reading_errors_named(job.examples_dir, job.split, say=job.progress.message),
    ):
        batch = run_loop(
            step,
            feed,
            span,
            log=log,
            skipped=skipped,
            evaluation=evaluation,
            checkpoints=periodic_checkpoints,
            stop=StopAgreement(stop, job.replicas, first_batch=span.first_batch),
        )
        step.synchronize()
    # The moving average, if there is one, becomes the weights.
    step.model.optimizer.finalize_variable_values(step.model.trainable_variables)
    return batch
