"""TFX's Trainer calls `run_fn`; pretraining and fine-tuning alike hand their folders to `train`."""

import os

from tfx.components.trainer.fn_args_utils import FnArgs

from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training.train import train


def run_fn(fn_args: FnArgs) -> None:
    """Trains one stage.

    Args:
      fn_args: TFX's. `custom_config` holds `config` (its name), `overrides` (a list of
        "section.field=value"), `stage` ("pretrain" or "finetune") and `work_dir`, where the
        checkpoints go; for a job in the cloud also `accelerators`, those of each machine.
        `train_files` are in the examples folder; the base model's folder, if any, is the parent of
        `base_model`, and that of the model to write the parent of `serving_model_dir`.

    Raises:
      UserError: something that the user can fix.
    """
    request = fn_args.custom_config
    # <examples folder>/Split-<split>/<pattern>
    split_folder = _parent(fn_args.train_files[0])
    stage = request["stage"]
    config = load_config(request["config"], request["overrides"], stage=stage)
    train(
        training_run(config, stage),
        examples_dir=_parent(split_folder),
        split=split_folder.rsplit("/", 1)[-1].removeprefix("Split-"),
        model_dir=_parent(fn_args.serving_model_dir),
        work_dir=request["work_dir"],
        # TFX names the SavedModel's place inside the model folder, whether it is there or not.
        base_model_dir=_parent(fn_args.base_model) if fn_args.base_model else None,
        # Below the artifact's folder too; set if a TensorBoard of Vertex AI's shows the logs.
        logs_dir=os.environ.get("AIP_TENSORBOARD_LOG_DIR", fn_args.model_run_dir),
        accelerators=request.get("accelerators"),
    )


def _parent(path: str) -> str:
    # pathlib would make gs:/ of gs://.
    return path.rstrip("/").rsplit("/", 1)[0]
