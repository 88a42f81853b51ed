"""Trains a Pix2Seq network: one stage, from examples to a model folder.

To be read from top to bottom. Pretraining and fine-tuning are the same program with other settings.
A step is an update of the weights; it takes one batch, or several whose gradients are accumulated.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from etils import epath
from ml_collections import ConfigDict

from pix2seq_model import experiment
from pix2seq_model.augmentation import Augmentation
from pix2seq_model.base_weights import take_base_weights
from pix2seq_model.callbacks import Checkpointing, IntervalLog
from pix2seq_model.dataset_info import read_dataset_info
from pix2seq_model.decoding import DecodeSettings
from pix2seq_model.errors import ConfigError, ModelError
from pix2seq_model.export import export_model_folder
from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.input_pipeline import training_dataset, training_image_ids
from pix2seq_model.interruption import StopRequest, TrainingInterruptedError
from pix2seq_model.model_folder import (
    HISTORY_FOLDER,
    SERVING_FOLDER,
    ModelInfo,
    read_model_info,
    save_model_folder,
    write_atomically,
)
from pix2seq_model.optimizer import make_optimizer
from pix2seq_model.pix2seq import build_model
from pix2seq_model.progress import ProgressLine
from pix2seq_model.run_identity import check_same_run, run_identity
from pix2seq_model.run_record import RUN_FILE, read_run_record, run_record
from pix2seq_model.sequences import SequenceSettings
from pix2seq_model.skipped_batches import SkippedBatches
from pix2seq_model.summaries import Summaries
from pix2seq_model.train_step import TrainedNetwork
from pix2seq_model.training_pictures import training_pictures
from pix2seq_model.training_state import CheckpointFolder, put_state


def train(
    config: ConfigDict,
    stage: str,
    *,
    examples_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    work_dir: str | os.PathLike,
    logs_dir: str | os.PathLike,
    split: str | None = None,
    base_model_dir: str | os.PathLike | None = None,
) -> ModelInfo:
    """Trains one stage and writes its model folder; continues where an earlier call was stopped.

    All folders may be local or gs://.

    Args:
      config: the experiment's, validated.
      stage: "pretrain" or "finetune".
      examples_dir: examples folder.
      model_dir: where the model goes.
      work_dir: where checkpoints go. A run continues from those it finds there.
      logs_dir: TensorBoard logs.
      split: of the examples; the config's if None.
      base_model_dir: model folder to start from; random weights if None.

    Returns:
      What the model folder says of the model.

    Raises:
      UserError: data, base model, settings or folders cannot be used; says what to do.
      TrainingInterruptedError: stopped by a signal, with the state saved.
    """
    settings = config[stage]
    if keras.backend.backend() == "jax":
        # TensorFlow reads the images; the accelerators' memory is JAX's.
        tf.config.set_visible_devices([], "GPU")

    # ---- What is trained on what. ----------------------------------------------------------------
    vocabulary = experiment.vocabulary(config)
    data = read_dataset_info(examples_dir)
    base_info = read_model_info(os.fspath(base_model_dir)) if base_model_dir else None
    batches_per_step = settings.accumulation_steps
    if settings.batch_size % batches_per_step:
        raise ConfigError(
            f"{stage}.batch_size={settings.batch_size} does not divide into {stage}."
            f"accumulation_steps={batches_per_step} batches: choose a multiple."
        )
    batch_size = settings.batch_size // batches_per_step
    total_batches = settings.steps * batches_per_step
    _check_steps_per_execution(settings, stage)

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        lock = stack.enter_context(FolderLock(work_dir))
        check_same_run(
            work_dir,
            run_identity(
                config,
                stage,
                data_fingerprint=data.fingerprint(),
                base_model=base_info.weights_sha256 if base_info else "",
            ),
        )
        _make_model_folder(model_dir)
        progress = ProgressLine(stage, total_steps=settings.steps, batch_size=settings.batch_size)
        stack.callback(progress.close)

        # ---- The network, with the base model's weights. -----------------------------------------
        with _precision(settings.precision):
            network = build_model(
                experiment.model_config(config, stage), vocabulary, seed=config.seed
            )
        if base_model_dir:
            transfer, _ = take_base_weights(network, base_model_dir)
            progress.message(f"{stage} starts from {base_model_dir}: {transfer.text()}")
        model = TrainedNetwork(network, vocabulary, label_smoothing=settings.label_smoothing)
        model.compile(
            optimizer=make_optimizer(settings, model.trainable_variables),
            jit_compile={"auto": "auto", "on": True, "off": False}[settings.jit_compile],
            steps_per_execution=settings.steps_per_execution,
        )

        # ---- What an earlier call left. ----------------------------------------------------------
        checkpoints = CheckpointFolder(
            epath.Path(work_dir) / "checkpoints", keep=settings.keep_checkpoints
        )
        record: dict[str, Any] = {"history": [], "wall_time_s": 0.0, "restarts": 0}
        first_batch = 0
        state = checkpoints.restore(warn=progress.message)
        if state is not None:
            put_state(model, state)
            first_batch, record = state.step, state.record
            record["restarts"] += 1
            progress.message(
                f"{stage} continues at step {first_batch // batches_per_step} of {settings.steps}."
            )

        # ---- The input. --------------------------------------------------------------------------
        stream = {
            "examples_dir": examples_dir,
            "split": split or settings.split,
            "batch_size": batch_size,
            "seed": config.seed,
        }
        make_batches = functools.partial(
            training_dataset,
            **stream,
            vocabulary=vocabulary,
            image_size=tuple(settings.image_size),
            augmentation=Augmentation(**settings.augmentation.to_dict()),
            sequence=SequenceSettings(**settings.sequence.to_dict()),
        )
        summaries = Summaries(epath.Path(logs_dir) / stage)
        stack.callback(summaries.close)
        if first_batch == 0:
            (inputs, targets, _) = next(iter(make_batches(shuffle_buffer=batch_size)))
            sheet = training_pictures(
                inputs["image"].numpy(),
                targets.numpy(),
                vocabulary=vocabulary,
                names=data.category_names(),
            )
            summaries.images(0, "training examples", sheet[None])

        # ---- Training. ---------------------------------------------------------------------------
        interval = settings.steps_per_log * batches_per_step
        log = IntervalLog(
            first_batch=first_batch,
            total_batches=total_batches,
            every_batches=interval,
            batches_per_step=batches_per_step,
            batch_size=batch_size,
            progress=progress,
            summaries=summaries,
            history=record["history"],
        )
        skipping = SkippedBatches(
            first_batch=first_batch,
            total_batches=total_batches,
            every_batches=interval,
            limit=settings.max_skipped_batches,
            folder=work_dir,
            image_ids=lambda batch: training_image_ids(
                **stream, shuffle_buffer=settings.shuffle_buffer, step=batch
            ),
            progress=progress,
        )
        checkpointing = Checkpointing(
            first_batch=first_batch,
            total_batches=total_batches,
            every_batches=settings.checkpoint_every_steps * batches_per_step,
            every_minutes=settings.checkpoint_every_minutes,
            folder=checkpoints,
            stop=stop,
            record=record,
            lock=lock,
        )
        if first_batch < total_batches:
            model.fit(
                make_batches(start_step=first_batch, shuffle_buffer=settings.shuffle_buffer),
                steps_per_epoch=total_batches - first_batch,
                epochs=1,
                shuffle=False,
                verbose=0,
                callbacks=[log, skipping, checkpointing],
            )
        else:
            # What `fit` does at its end: the moving average, if any, becomes the weights.
            model.optimizer.finalize_variable_values(model.trainable_variables)
        if checkpointing.stopped:
            raise TrainingInterruptedError(
                f"{stage} was stopped by {stop.received} at step "
                f"{checkpointing.batch // batches_per_step} of {settings.steps}; its state is in "
                f"{work_dir}. Run the same command to continue."
            )

        # ---- The model folder. -------------------------------------------------------------------
        progress.message(f"{stage} is done; writing the model to {model_dir}")
        info = ModelInfo(
            model=network.model_config,
            vocabulary=vocabulary,
            categories=data.categories,
            max_objects=settings.sequence.max_objects,
            source=f"{config.name}, {stage}, {settings.steps} steps",
        )
        _write_history(model_dir, stage, record["history"], base_model_dir=base_model_dir)
        content = run_record(
            config=config.to_dict(),
            stage=stage,
            data={
                "folder": os.fspath(examples_dir),
                "split": split or settings.split,
                "fingerprint": data.fingerprint(),
            },
            base_model=base_info
            and {
                "folder": os.fspath(base_model_dir),
                "weights_sha256": base_info.weights_sha256,
                "run": read_run_record(base_model_dir),
            },
            steps=settings.steps,
            restarts=record["restarts"],
            wall_time_s=record["wall_time_s"],
        )
        write_atomically(epath.Path(model_dir) / RUN_FILE, json.dumps(content, indent=1) + "\n")
        info = save_model_folder(os.fspath(model_dir), network, info=info)
        export_model_folder(
            model_dir,
            epath.Path(model_dir) / SERVING_FOLDER,
            settings=DecodeSettings(
                max_objects=config.evaluation.max_objects,
                top_k=config.evaluation.top_k,
                top_p=config.evaluation.top_p,
                temperature=config.evaluation.temperature,
                end_token_offset=config.evaluation.end_token_offset,
            ),
            seed=config.evaluation.seed,
        )
        return info


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Layers made inside compute so; their variables are float32 either way."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_steps_per_execution(settings: ConfigDict, stage: str) -> None:
    together = settings.steps_per_execution
    for name in ("steps", "steps_per_log", "checkpoint_every_steps"):
        batches = settings[name] * settings.accumulation_steps
        if batches % together:
            raise ConfigError(
                f"{stage}.{name}={settings[name]} is no multiple of {stage}.steps_per_execution="
                f"{together}: choose {max(1, settings[name] // together) * together}."
            )


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
