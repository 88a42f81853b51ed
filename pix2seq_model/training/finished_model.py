"""The model folder that a training leaves: the chief's work; the other processes wait for it."""

import dataclasses
import os
from typing import Any

import keras
from etils import epath

from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.folder import (
    SERVING_FOLDER,
    ModelInfo,
    load_weights,
    save_model_folder,
    wait_for_model,
)
from pix2seq_model.model_folder.saved_model import export_model_folder
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.early_stopping import stopped_at
from pix2seq_model.training.interval_log import write_history
from pix2seq_model.training.job import TrainingJob
from pix2seq_model.training.run_record import RUN_FILE, run_record


def make_model_folder(model_dir: str | os.PathLike) -> None:
    """Makes the folder before the training, so that it does not fail after."""
    probe = epath.Path(model_dir) / ".probe"
    try:
        write_atomically(probe, "")
        probe.unlink()
    except OSError as error:
        raise ModelError(
            f"The model folder {model_dir} cannot be written ({error}): name another folder or "
            "fix this one."
        ) from error


def model_info(job: TrainingJob, network: keras.Model, *, steps: int | None = None) -> ModelInfo:
    """What `model.json` is to say of the network; the digest of its weights is filled in later.

    Args:
      job: the run.
      network: that it trained.
      steps: those trained, where training was stopped early.
    """
    run = job.run
    return ModelInfo(
        model=network.model_config,
        vocabulary=run.vocabulary,
        categories=job.data.categories,
        max_objects=run.settings.sequence.max_objects,
        source=f"{run.name}, {run.stage}, {steps or run.settings.steps} steps",
        resize=run.evaluation.resize,
        decoding={**run.evaluation.decoding(), "seed": run.evaluation.seed},
    )


def write_model(
    job: TrainingJob, network: keras.Model, record: dict[str, Any], *, export: bool
) -> ModelInfo:
    """Writes the model, its history and its record; the other processes wait for it."""
    run, replicas, model_dir = job.run, job.replicas, job.model_dir
    replicas.leave()
    if not replicas.is_chief:
        return wait_for_model(model_dir, marker=SERVING_FOLDER)
    info = model_info(job, network, steps=stopped_at(record))
    if replicas.num_processes > 1:
        # One that lies in this process alone.
        weights = network.get_weights()
        network = build_model(network.model_config, run.vocabulary)
        network.set_weights(weights)
    if run.settings.keep_best:
        info = _take_best(job, network, info, record)
    job.progress.message(f"{run.stage} is done; writing the model to {model_dir}")
    write_history(model_dir, run.stage, record["history"], base_model_dir=job.base_model_dir)
    write_json(epath.Path(model_dir) / RUN_FILE, run_record(job, record), indent=1)
    info = save_model_folder(os.fspath(model_dir), network, info=info)
    if export:
        export_model_folder(
            model_dir,
            epath.Path(model_dir) / SERVING_FOLDER,
            settings=DecodeSettings(**run.evaluation.decoding()),
            seed=run.evaluation.seed,
        )
    return info


def _take_best(
    job: TrainingJob, network: keras.Model, info: ModelInfo, record: dict[str, Any]
) -> ModelInfo:
    """Loads the weights of the best evaluation, if any could be measured; says which stay."""
    stage, best = job.run.stage, record["best"]
    if best is None:
        last = stopped_at(record) or job.run.settings.steps
        job.progress.message(
            f"{stage}.keep_best keeps the last weights, of step {last}: AP could "
            f"not be measured, because none of the images looked at in "
            f"{job.run.evaluation.split!r} has a box; raise {stage}.evaluate_images, or name "
            "another evaluation.split"
        )
        return info
    load_weights(network, job.best_dir)
    job.progress.message(
        f"{stage}.keep_best keeps the weights of step {best['step']}: AP {best['AP']:.4f}"
    )
    return dataclasses.replace(info, source=f"{info.source}, best of step {best['step']}")
