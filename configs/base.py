"""Every setting of an experiment; the other configs start here.

Each section has the fields of a dataclass, where they are described and have their defaults: those
of Pix2Seq (Chen et al., arXiv:2109.10852) and of its published checkpoints.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict, config_dict

from pix2seq_model.data.settings import DataSettings
from pix2seq_model.evaluation.settings import BlessingSettings, EvaluationSettings
from pix2seq_model.experiment.settings import (
    CloudSettings,
    OwnDataSettings,
    PushSettings,
    StageSource,
)
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training.settings import LoggingSettings, StageSettings

# Images of the training splits, from which steps per epoch follow.
COCO_TRAIN_IMAGES = 118_287


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "base"
    config.seed = 0

    config.vocabulary = _section(Vocabulary())
    config.model = model("vit_b")

    config.data = ConfigDict()
    config.data.pretrain = data_source("objects365")
    config.data.finetune = data_source("coco")

    config.own_data = _section(OwnDataSettings())

    config.pretrain = stage()
    config.finetune = stage()

    config.evaluation = _section(EvaluationSettings(), BlessingSettings())
    # Detect with the workers of a Beam job, with the same arguments as the conversion.
    config.evaluation.on_beam = False

    config.logging = _section(LoggingSettings())
    config.push = _section(PushSettings())
    config.cloud = _section(CloudSettings())
    return config


def epochs(number: int, *, batch_size: int) -> int:
    """Steps of so many passes over COCO's training images."""
    return number * COCO_TRAIN_IMAGES // batch_size


def model(published_name: str) -> ConfigDict:
    """A published architecture; the image size belongs to the stages."""
    section = _section(ModelConfig.published(published_name))
    del section["image_size"]
    return section


def data_source(data_format: str, images: str = "", annotations: str = "") -> ConfigDict:
    """One data set on disk, before conversion; "{split}" in a place stands for train and val."""
    source = _section(DataSettings(format=data_format))
    for split in ("train", "val"):
        source.images[split] = images.replace("{split}", split)
        source.annotations[split] = annotations.replace("{split}", split)
    return source


def stage() -> ConfigDict:
    """One training stage."""
    section = _section(StageSource(), StageSettings())
    # A name; configs from when it was true or false may still say so.
    checkpointing = section.activation_checkpointing
    del section["activation_checkpointing"]
    section.activation_checkpointing = config_dict.FieldReference(checkpointing, field_type=object)
    return section


def published_stage() -> ConfigDict:
    """One training stage, in all as the published models were trained."""
    published = stage()
    published.image_dtype = "float32"
    published.augmentation.crop = "diagonal"
    published.drop_empty_images = True
    return published


def _section(*settings: Any) -> ConfigDict:
    fields: dict[str, Any] = {}
    for part in settings:
        fields |= dataclasses.asdict(part)
    return ConfigDict(fields)
