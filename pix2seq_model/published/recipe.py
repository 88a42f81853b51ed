"""How a published checkpoint's `config.json` says it was trained, as settings of a stage.

Needs no TensorFlow for places on this machine.
"""

from collections.abc import Mapping
from typing import Any

from etils import epath

from pix2seq_model.errors import CheckpointError
from pix2seq_model.json_file import read_json
from pix2seq_model.published.locations import CONFIG_FILE, RECIPE_FILE
from pix2seq_model.store_access import check_reachable

# Of `config.json`, what concerns the training.
SECTIONS = ("dataset", "task", "optimization", "train")
# Images of the data that the published checkpoints were trained on, by stage; a length in epochs is
# counted in these where the file does not say how many there were.
_TRAIN_IMAGES = {"pretrain": 1_662_289, "finetune": 118_287}

# Our settings of a stage by theirs, where name and place are all that differs.
_RENAMED = {
    "train.batch_size": "batch_size",
    "optimization.learning_rate": "learning_rate",
    "optimization.learning_rate_schedule": "schedule",
    "optimization.end_lr_factor": "end_factor",
    "optimization.weight_decay": "weight_decay",
    "optimization.beta2": "beta_2",
    "task.jitter_scale_min": "augmentation.scale_min",
    "task.jitter_scale_max": "augmentation.scale_max",
    "task.max_instances_per_image": "sequence.max_objects",
    "task.object_order": "sequence.order",
    "task.class_label_corruption": "sequence.class_corruption",
    "task.eos_token_weight": "sequence.padding_weight",
}
# What is no setting here, and what it always is.
_FIXED = {
    "optimization.optimizer": "adamw",
    "optimization.beta1": 0.9,
    "optimization.eps": 1e-8,
    "task.color_jitter_strength": 0.0,
    "task.noise_bbox_weight": 1.0,
    "train.loss_type": "xent",
}


def read_recipe(place: str) -> dict[str, Any]:
    """The sections that concern the training, of a checkpoint's folder or an imported model's.

    Args:
      place: the folder, local or gs://; or the file itself.

    Raises:
      CheckpointError: there is no such file, or it cannot be read, or holds no recipe.
      UnavailableError: it is in a bucket that cannot be reached.
    """
    check_reachable(place)
    path = epath.Path(place)
    try:
        files = [file for file in (path / RECIPE_FILE, path / CONFIG_FILE) if file.exists()]
        content = read_json((files or [path])[0], fix="copy it again", error=CheckpointError)
    except CheckpointError:  # It says what to do.
        raise
    except Exception as error:  # Each kind of storage raises its own.
        raise CheckpointError(
            f"{place}: no recipe can be read ({type(error).__name__}: {error}). Name a folder with "
            f"a published checkpoint's {CONFIG_FILE}, or one that import_checkpoint.py wrote."
        ) from None
    if not isinstance(content, dict) or not {"optimization", "train"} <= content.keys():
        raise CheckpointError(
            f"{place} holds no recipe: its {CONFIG_FILE} has no sections optimization and train."
        )
    return {name: content[name] for name in SECTIONS if name in content}


def stage_recipe(
    recipe: Mapping[str, Any], stage: str, *, source: str
) -> tuple[dict[str, Any], list[str]]:
    """The settings of a stage that a recipe names.

    Args:
      recipe: what `read_recipe` returned.
      stage: "pretrain" or "finetune".
      source: its place, for messages.

    Returns:
      Values by our name of the setting below the stage, as "augmentation.scale_min"; and a line
      for each thing that this project does otherwise and has no setting for.

    Raises:
      CheckpointError: the length or the batch is missing, or the rate depends on the batch.
    """
    said = {
        f"{section}.{name}": value
        for section in SECTIONS
        for name, value in (recipe.get(section) or {}).items()
    }
    settings = {ours: said[theirs] for theirs, ours in _RENAMED.items() if theirs in said}
    scaling = said.get("optimization.learning_rate_scaling", "none")
    if scaling != "none":
        raise CheckpointError(
            f"{source}: optimization.learning_rate_scaling={scaling!r}, but only 'none' is known: "
            f"leave {stage}.recipe empty and give the settings of the stage yourself."
        )
    if "optimization.global_clipnorm" in said:
        settings["clip_norm"] = max(float(said["optimization.global_clipnorm"] or 0), 0.0)
    images = said.get("dataset.train_num_examples") or _TRAIN_IMAGES[stage]
    try:
        batch_size = said["train.batch_size"]
        # As the published code counts: 40 epochs of COCO in batches of 32 are 147,859 steps.
        settings["steps"] = (
            said.get("train.steps") or int(said["train.epochs"] * images // batch_size) + 1
        )
        settings["warmup_steps"] = said.get("optimization.warmup_steps") or int(
            said.get("optimization.warmup_epochs", 0) * images // batch_size
        )
    except KeyError as error:
        raise CheckpointError(f"{source}: the recipe does not say {error}.") from None
    others = [
        f"{name}={said[name]} there; here it is {value}, which is no setting"
        for name, value in _FIXED.items()
        if name in said and said[name] != value
    ]
    return settings, others
