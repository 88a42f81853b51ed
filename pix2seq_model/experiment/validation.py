"""The sections of a config as the checked settings of the rooms they belong to.

Settings check themselves when they are made. Here is what they cannot check: how the sections fit
together.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pix2seq_model.data.settings import DataSettings
from pix2seq_model.errors import ConfigError
from pix2seq_model.evaluation.settings import BlessingSettings, EvaluationSettings
from pix2seq_model.experiment.settings import (
    CloudSettings,
    OwnDataSettings,
    PushSettings,
    StageSource,
)
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.setting_checks import build_settings, check_fields, check_names
from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training.settings import (
    STAGES,
    LoggingSettings,
    StageSettings,
    TrainingRun,
    check_freeze,
)

_SECTIONS = (
    *("name", "seed", "vocabulary", "model", "data", "own_data"),
    *(*STAGES, "evaluation", "logging", "push", "cloud"),
)
# Read by one command alone, which checks it.
_OTHER_SECTIONS = ("ablation",)


def validate(config: ConfigDict) -> None:
    """Raises ConfigError at the first value that cannot work."""
    _check_sections(config)
    check_names(config, (*_SECTIONS, *_OTHER_SECTIONS))
    check_names(config.data, STAGES, "data")
    for stage in STAGES:  # Of a stage that is not enabled the names alone.
        check_fields([DataSettings], config.data[stage].to_dict(), f"data.{stage}")
        check_fields([StageSource, StageSettings], config[stage].to_dict(), stage)
        build_settings(StageSource, _taken(StageSource, config[stage].to_dict()), stage)
    own_data_settings(config)
    stages = enabled_stages(config)
    if not stages:
        raise ConfigError("pretrain.enabled and finetune.enabled are both false: enable one.")
    for stage in stages:
        section = f"data.{stage}"
        build_settings(DataSettings, config.data[stage].to_dict(), section, prefix=f"{section}.")
        validate_stage(config, stage)
        has_start = stage != stages[0] or bool(config[stage].start_from)
        check_freeze(stage, config[stage].freeze, has_start=has_start)
    evaluation_settings(config.evaluation.to_dict())
    _check_split(config, stages[-1], "evaluation")
    build_settings(PushSettings, config.push.to_dict(), "push")
    build_settings(CloudSettings, config.cloud.to_dict(), "cloud")


def validate_stage(config: ConfigDict, stage: str) -> None:
    """Raises ConfigError at the first value that training a stage cannot work with."""
    _check_sections(config)
    run = training_run(config, stage)
    disable = f", or disable the stage with {stage}.enabled=False"
    _check_split(config, stage, stage, fix=disable)
    if run.settings.evaluate_every_steps:
        switch_off = f", or set {stage}.evaluate_every_steps=0"
        _check_split(config, stage, "evaluation", fix=switch_off)


def enabled_stages(config: ConfigDict) -> tuple[str, ...]:
    """The stages that are part of an experiment, in their order."""
    return tuple(stage for stage in STAGES if config[stage].enabled)


def own_data_settings(config: ConfigDict) -> OwnDataSettings:
    """How a scan of the data settles values of the config."""
    return build_settings(OwnDataSettings, config.own_data.to_dict(), "own_data")


def vocabulary(config: ConfigDict) -> Vocabulary:
    """The token ids."""
    return build_settings(Vocabulary, config.vocabulary.to_dict(), "vocabulary")


def model_config(config: ConfigDict, stage: str) -> ModelConfig:
    """The architecture at the image size of one stage."""
    fields = {"image_size": config[stage].image_size, **config.model.to_dict()}
    try:
        return build_settings(ModelConfig, fields, "model")
    except ConfigError as error:  # That of the sizes alone is a setting of the stage.
        prefix = f"{stage}." if str(error).startswith("image_size=") else ""
        raise ConfigError(f"{prefix}{error}") from None


def stage_settings(config: ConfigDict, stage: str) -> StageSettings:
    """The settings of a stage.

    Raises:
      ConfigError: a value that cannot work; names the stage.
    """
    fields = config[stage].to_dict()
    _taken(StageSource, fields)
    return build_settings(StageSettings, fields, stage, prefix=f"{stage}.")


def training_run(config: ConfigDict, stage: str) -> TrainingRun:
    """What `train` is told to train a stage of a config.

    Raises:
      ConfigError: a value that cannot work.
    """
    return TrainingRun(
        name=config.name,
        stage=stage,
        seed=config.seed,
        vocabulary=vocabulary(config),
        settings=stage_settings(config, stage),
        model=model_config(config, stage),
        evaluation=evaluation_settings(config.evaluation)[0],
        logging=build_settings(LoggingSettings, config.logging.to_dict(), "logging"),
        config=config.to_dict(),
    )


def evaluation_settings(section: Mapping[str, Any]) -> tuple[EvaluationSettings, BlessingSettings]:
    """How to evaluate and what to reach, from a config's `evaluation` section.

    Raises:
      ConfigError: a value that cannot work.
    """
    fields = dict(section)
    on_beam = fields.pop("on_beam", False)
    if not isinstance(on_beam, bool):
        raise ConfigError(f"evaluation.on_beam={on_beam!r} must be true or false.")
    thresholds = _taken(BlessingSettings, fields)
    return (
        build_settings(EvaluationSettings, fields, "evaluation"),
        build_settings(BlessingSettings, thresholds, "evaluation"),
    )


def _check_sections(config: ConfigDict) -> None:
    for name in _SECTIONS:
        if name not in config:
            raise ConfigError(f"the config has no {name}: start from configs/base.py.")


def _taken(kind: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Takes out the fields of settings that share a section with others."""
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: fields.pop(name) for name in names if name in fields}


def _check_split(config: ConfigDict, stage: str, section: str, *, fix: str = "") -> None:
    """Raises ConfigError unless the split that a section names is part of a stage's data."""
    split = config[section].split
    if not config.data[stage].annotations.get(split):
        raise ConfigError(
            f"{section}.split={split!r} names no split: data.{stage}.annotations.{split} is "
            f"empty. Give the annotation file{fix}."
        )
