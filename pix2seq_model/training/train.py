"""Trains a Pix2Seq network: one stage, from examples to a model folder.

To be read from top to bottom. Pretraining and fine-tuning are the same program with other settings.
A step is an update of the weights; it takes one batch, or several whose gradients are accumulated.
"""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from etils import epath

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.data.damage import reading_errors_named
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ModelError, TrainingInterruptedError
from pix2seq_model.input_pipeline.datasets import training_dataset, training_image_ids
from pix2seq_model.model_folder.folder import (
    HISTORY_FOLDER,
    SERVING_FOLDER,
    ModelInfo,
    load_weights,
    read_model_info,
    save_model_folder,
    wait_for_model,
)
from pix2seq_model.model_folder.saved_model import export_model_folder
from pix2seq_model.model_folder.transfer import take_base_weights
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.network.remat import recompute_activations
from pix2seq_model.progress import ProgressLine
from pix2seq_model.training.callbacks import Checkpointing, IntervalLog, RunSpan
from pix2seq_model.training.checkpoint import CheckpointFolder, put_state
from pix2seq_model.training.compiled_steps import CompiledSteps
from pix2seq_model.training.evaluation import SplitEvaluator, TrainingEvaluation
from pix2seq_model.training.folder_lock import FolderLock
from pix2seq_model.training.interruption import StopRequest
from pix2seq_model.training.optimizer import make_optimizer, make_schedule
from pix2seq_model.training.pictures import training_pictures
from pix2seq_model.training.replicas import Replicas, join_replicas
from pix2seq_model.training.run_identity import check_same_run, run_identity
from pix2seq_model.training.run_record import RUN_FILE, read_run_record, run_record
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.skipped_batches import SkippedBatches
from pix2seq_model.training.stall_watch import StallWatch
from pix2seq_model.training.tensorboard import Summaries
from pix2seq_model.training.training_model import TrainedNetwork


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
      compiled_steps: of earlier calls in this process, to use and to add to; for one device.

    Returns:
      What the model folder says of the model.

    Raises:
      UserError: data, base model, settings or folders cannot be used; says what to do.
      TrainingInterruptedError: stopped by a signal, with the state saved.
    """
    stage, settings, vocabulary = run.stage, run.settings, run.vocabulary
    if keras.backend.backend() == "jax":
        # TensorFlow reads the images; the accelerators' memory is JAX's.
        tf.config.set_visible_devices([], "GPU")
    replicas = join_replicas()
    replicas.check_share(
        settings.batch_size,
        accumulation_steps=settings.accumulation_steps,
        name=f"{stage}.batch_size",
    )

    # ---- What is trained on what. ----------------------------------------------------------------
    split = split or settings.split
    data = read_dataset_info(examples_dir)
    base_info = read_model_info(os.fspath(base_model_dir)) if base_model_dir else None

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        if replicas.is_chief:
            stack.enter_context(FolderLock(work_dir))
            check_same_run(
                work_dir,
                run_identity(
                    run,
                    data_fingerprint=data.fingerprint(),
                    base_model=base_info.weights_sha256 if base_info else "",
                ),
            )
            _make_model_folder(model_dir)
        summaries = stack.enter_context(
            Summaries(epath.Path(logs_dir) / stage if replicas.is_chief else None)
        )
        progress = stack.enter_context(
            ProgressLine(
                stage,
                total_steps=settings.steps,
                batch_size=settings.batch_size,
                messages_only=not replicas.is_chief,
            )
        )

        # ---- The network, with the base model's weights, and what trains it. ---------------------
        compile_model = functools.partial(_compiled_network, run, replicas=replicas)
        if compiled_steps is None:
            model = compile_model()
        else:
            model = compiled_steps.take(run, compile_model)
        network = model.network
        if base_model_dir:
            transfer, _ = take_base_weights(network, base_model_dir)
            progress.message(f"{stage} starts from {base_model_dir}: {transfer.text()}")

        # ---- What an earlier call left. ----------------------------------------------------------
        checkpoints = CheckpointFolder(
            epath.Path(work_dir) / "checkpoints", keep=settings.keep_checkpoints
        )
        first_batch, record = 0, {"history": [], "wall_time_s": 0.0, "restarts": 0, "best": None}
        state = checkpoints.restore(warn=progress.message)
        if state is not None:
            put_state(model, state)
            first_batch, record = state.step, state.record
            record["restarts"] += 1
        replicas.check_same(first_batch, "the step to continue at")
        span = RunSpan(
            steps=settings.steps,
            batches_per_step=settings.accumulation_steps,
            batch_size=settings.images_per_batch,
            first_batch=first_batch,
        )
        if first_batch:
            progress.message(f"{stage} continues at step {span.step(first_batch)} of {span.steps}.")

        # ---- The input. --------------------------------------------------------------------------
        stream = {
            "examples_dir": examples_dir,
            "split": split,
            "batch_size": span.batch_size,
            "seed": run.seed,
        }
        make_batches = functools.partial(
            training_dataset,
            **stream,
            vocabulary=vocabulary,
            image_size=settings.image_size,
            augmentation=settings.augmentation,
            sequence=settings.sequence,
            num_hosts=replicas.num_processes,
            host_index=replicas.process_index,
        )
        if replicas.is_chief and not first_batch:
            (inputs, targets, _) = next(iter(make_batches(shuffle_buffer=span.batch_size)))
            sheet = training_pictures(
                inputs["image"].numpy(),
                targets.numpy(),
                vocabulary=vocabulary,
                names=data.category_names(),
            )
            summaries.images(0, "training examples", sheet[None])

        # ---- Training. ---------------------------------------------------------------------------
        log = IntervalLog(
            span,
            every_steps=settings.steps_per_log,
            learning_rate=make_schedule(settings),
            progress=progress,
            summaries=summaries,
            history=record["history"],
        )
        skipping = SkippedBatches(
            span,
            every_steps=settings.steps_per_log,
            limit=settings.max_skipped_batches,
            folder=work_dir if replicas.is_chief else None,
            image_ids=lambda batch: training_image_ids(
                **stream, shuffle_buffer=settings.shuffle_buffer, step=batch
            ),
            progress=progress,
        )
        best_dir = epath.Path(work_dir) / "best"
        info = ModelInfo(
            model=network.model_config,
            vocabulary=vocabulary,
            categories=data.categories,
            max_objects=settings.sequence.max_objects,
            source=f"{run.name}, {stage}, {settings.steps} steps",
            decoding={**run.evaluation.decoding(), "seed": run.evaluation.seed},
        )
        evaluation = []
        if settings.evaluate_every_steps:
            evaluator = SplitEvaluator(
                network,
                examples_dir,
                split=run.evaluation.split,
                max_images=settings.evaluate_images,
                settings=run.evaluation,
            )
            save_best = functools.partial(
                save_model_folder, os.fspath(best_dir), network, info=info
            )
            evaluation.append(
                TrainingEvaluation(
                    span,
                    evaluator,
                    every_steps=settings.evaluate_every_steps,
                    record=record,
                    progress=progress,
                    summaries=summaries,
                    save_best=save_best if settings.keep_best and replicas.is_chief else None,
                )
            )
        checkpointing = Checkpointing(
            span,
            every_steps=settings.checkpoint_every_steps,
            every_minutes=settings.checkpoint_every_minutes,
            folder=checkpoints,
            stop=stop,
            record=record,
            replicas=replicas,
        )
        if first_batch < span.total_batches:
            with (
                replicas.losses_named(),
                StallWatch(model, f"split {split!r} of {examples_dir}", say=progress.message),
                reading_errors_named(examples_dir, split, say=progress.message),
            ):
                model.fit(
                    make_batches(start_step=first_batch, shuffle_buffer=settings.shuffle_buffer),
                    steps_per_epoch=span.total_batches - first_batch,
                    epochs=1,
                    shuffle=False,
                    verbose=0,
                    # A checkpoint holds what the others did before it.
                    callbacks=[log, skipping, *evaluation, checkpointing],
                )
        else:
            # What `fit` does at its end: the moving average, if any, becomes the weights.
            model.optimizer.finalize_variable_values(model.trainable_variables)
        if checkpointing.stopped:
            raise TrainingInterruptedError(
                f"{stage} was stopped by {stop.received or 'another worker'} at step "
                f"{span.step(checkpointing.batch)} of {span.steps}; its state is in {work_dir}. "
                "Run the same command to continue."
            )

        # ---- The model folder, the chief's work. -------------------------------------------------
        replicas.leave()
        if not replicas.is_chief:
            return wait_for_model(model_dir, marker=SERVING_FOLDER)
        if replicas.num_processes > 1:
            # One that lies in this process alone.
            weights = network.get_weights()
            network = build_model(network.model_config, vocabulary)
            network.set_weights(weights)
        if settings.keep_best and record["best"]:
            load_weights(network, os.fspath(best_dir))
            info = dataclasses.replace(
                info, source=f"{info.source}, best of step {record['best']['step']}"
            )
        progress.message(f"{stage} is done; writing the model to {model_dir}")
        _write_history(model_dir, stage, record["history"], base_model_dir=base_model_dir)
        base_record = None
        if base_info:
            base_record = {
                "folder": os.fspath(base_model_dir),
                "weights_sha256": base_info.weights_sha256,
                "run": read_run_record(base_model_dir),
            }
        content = run_record(
            config=dict(run.config),
            stage=stage,
            data={
                "folder": os.fspath(examples_dir),
                "split": split,
                "fingerprint": data.fingerprint(),
            },
            base_model=base_record,
            steps=settings.steps,
            restarts=record["restarts"],
            num_processes=replicas.num_processes,
            num_devices=replicas.num_devices,
            wall_time_s=record["wall_time_s"],
        )
        write_atomically(epath.Path(model_dir) / RUN_FILE, json.dumps(content, indent=1) + "\n")
        info = save_model_folder(os.fspath(model_dir), network, info=info)
        if export:
            export_model_folder(
                model_dir,
                epath.Path(model_dir) / SERVING_FOLDER,
                settings=DecodeSettings(**run.evaluation.decoding()),
                seed=run.evaluation.seed,
            )
        return info


def _compiled_network(run: TrainingRun, *, replicas: Replicas) -> TrainedNetwork:
    """The network with fresh weights, its loss and its optimizer."""
    settings = run.settings
    with _precision(settings.precision):
        network = build_model(run.model, run.vocabulary, seed=run.seed)
    if settings.activation_checkpointing:
        recompute_activations(network)
    model = TrainedNetwork(
        network, run.vocabulary, label_smoothing=settings.label_smoothing, replicas=replicas
    )
    model.compile(
        optimizer=make_optimizer(settings, model.trainable_variables),
        jit_compile={"auto": "auto", "on": True, "off": False}[settings.jit_compile],
    )
    return model


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Layers made inside compute so; their variables are float32 either way."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _make_model_folder(model_dir: str | os.PathLike) -> None:
    """Makes the folder before the training, lest it fail after."""
    try:
        epath.Path(model_dir).mkdir(parents=True, exist_ok=True)
        probe = epath.Path(model_dir) / ".probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ModelError(
            f"The model folder {model_dir} cannot be written ({error}): name another folder or "
            "mend this one."
        ) from error


def _write_history(
    model_dir: str | os.PathLike,
    stage: str,
    rows: list[dict[str, Any]],
    *,
    base_model_dir: str | os.PathLike | None,
) -> None:
    """Writes the stage's loss curve beside those of the stages before it."""
    folder = epath.Path(model_dir) / HISTORY_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if base_model_dir and (epath.Path(base_model_dir) / HISTORY_FOLDER).exists():
        for path in (epath.Path(base_model_dir) / HISTORY_FOLDER).iterdir():
            write_atomically(folder / path.name, path.read_text())
    write_atomically(folder / f"{stage}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
