"""Loads a config by name, applies overrides, checks it.

A config is a Python file with `get_config()` or `get_config(argument)` that returns an
`ml_collections.ConfigDict`; it is named as `configs/coco_finetune.py:vit_b,640`, the part behind
the colon being the argument. A remote step is handed that name and the overrides, not the config.
"""

import ast
import difflib
import importlib.util
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2seq_model.errors import ConfigError
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training.settings import STAGES, StageSettings, TrainingRun, check_positions

DATA_FORMATS = ("objects365", "coco", "coco_format")
METRICS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
# Sections whose keys are names of splits, metrics or labels: an override may add one.
_OPEN_SECTIONS = (
    "evaluation.min_metrics",
    "evaluation.max_regression",
    "cloud.labels",
    *(f"data.{s}.{f}" for s in STAGES for f in ("images", "annotations", "num_shards")),
)
_PROJECT_ROOT = Path(__file__).resolve().parents[2]


def load_config(
    name: str, overrides: Sequence[str] = (), *, stage: str | None = None
) -> ConfigDict:
    """Loads, overrides, locks and validates a config.

    Args:
      name: path of the file, looked for from here and then from the project's root; with an
        argument behind a colon if its `get_config` takes one.
      overrides: strings like "finetune.steps=10".
      stage: check only what training this stage reads. A training step is handed the overrides of
        its own sections alone, lest a change of the evaluation train anew.

    Raises:
      ConfigError: the file, the argument, an override or a value is wrong; says what to change.
    """
    path, _, argument = name.partition(":")
    config = _call_get_config(_find(path), argument)
    config.lock()
    for override in overrides:
        _override(config, override, name)
    if stage is None:
        validate(config)
    else:
        _validate_stage(config, stage)
    return config


def override_section(
    section: dict[str, Any], name: str, overrides: Sequence[str]
) -> dict[str, Any]:
    """A section with overrides like "evaluation.top_k=1" applied; all must be of this section.

    Raises:
      ConfigError: an override is wrong; says what to change.
    """
    config = ConfigDict({name: section})
    config.lock()
    for override in overrides:
        _override(config, override, f"section {name}")
    return config[name].to_dict()


def vocabulary(config: ConfigDict) -> Vocabulary:
    return Vocabulary(**config.vocabulary.to_dict())


def model_config(config: ConfigDict, stage: str) -> ModelConfig:
    """The architecture at the image size of one stage."""
    return ModelConfig(image_size=tuple(config[stage].image_size), **config.model.to_dict())


def stage_settings(config: ConfigDict, stage: str) -> StageSettings:
    """The settings of a stage.

    Raises:
      ConfigError: a value that cannot work; names the stage.
    """
    fields = config[stage].to_dict()
    try:
        parts = {
            "augmentation": Augmentation(**fields.pop("augmentation")),
            "sequence": SequenceSettings(**fields.pop("sequence")),
        }
        del fields["enabled"], fields["start_from"]
        return StageSettings(**fields, **parts)
    except ConfigError as error:
        raise ConfigError(f"{stage}.{error}") from None


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
        model=model_config(config, stage),
        settings=stage_settings(config, stage),
        evaluation=EvaluationSettings.from_config(config.evaluation),
        config=config.to_dict(),
    )


def enabled_stages(config: ConfigDict) -> tuple[str, ...]:
    return tuple(stage for stage in STAGES if config[stage].enabled)


def validate(config: ConfigDict) -> None:
    """Raises ConfigError at the first value that cannot work."""
    vocabulary(config)
    stages = enabled_stages(config)
    if not stages:
        raise ConfigError("pretrain.enabled and finetune.enabled are both false: enable one.")
    for stage in stages:
        _validate_data(config.data[stage], f"data.{stage}")
        _validate_stage(config, stage)
    _validate_evaluation(config)


def _validate_data(source: ConfigDict, name: str) -> None:
    _check_one_of(f"{name}.format", source.format, DATA_FORMATS)
    for split in sorted({*source.images, *source.annotations}):
        given = [bool(part.get(split, "")) for part in (source.images, source.annotations)]
        if given[0] != given[1]:
            have, lack = ("images", "annotations") if given[0] else ("annotations", "images")
            raise ConfigError(
                f"{name}.{have}.{split} is given but {name}.{lack}.{split} is not: give both."
            )
        if source.num_shards.get(split, 0) < 0:
            raise ConfigError(f"{name}.num_shards.{split} must be 0 (by size) or more.")
    _check_range(f"{name}.max_defect_fraction", source.max_defect_fraction, 0, 1)


def _validate_stage(config: ConfigDict, stage: str) -> None:
    section = config[stage]
    training_run(config, stage)
    if not config.data[stage].annotations.get(section.split, ""):
        raise ConfigError(
            f"{stage}.split={section.split!r} names no split: data.{stage}.annotations."
            f"{section.split} is empty. Give the annotation file, or disable the stage with "
            f"{stage}.enabled=False."
        )


def _validate_evaluation(config: ConfigDict) -> None:
    section = config.evaluation
    stage = enabled_stages(config)[-1]
    if not config.data[stage].annotations.get(section.split, ""):
        raise ConfigError(
            f"evaluation.split={section.split!r} names no split: data.{stage}.annotations."
            f"{section.split} is empty. Give the annotation file."
        )
    _check_range("evaluation.batch_size", section.batch_size, 1, None)
    _check_range("evaluation.max_objects", section.max_objects, 1, None)
    check_positions("evaluation.max_objects", section.max_objects, model_config(config, stage))
    _check_range("evaluation.top_k", section.top_k, 0, None)
    _check_range("evaluation.top_p", section.top_p, 0, 1)
    _check_one_of("evaluation.precision", section.precision, ("float32", "bfloat16"))
    if section.temperature <= 0:
        raise ConfigError(f"evaluation.temperature={section.temperature} must be positive.")
    for field in ("min_metrics", "max_regression"):
        for metric, value in section[field].items():
            _check_one_of(f"evaluation.{field}: metric", metric, METRICS)
            _check_range(f"evaluation.{field}.{metric}", value, 0, 1)


def _check_range(name: str, value: float, low: float | None, high: float | None) -> None:
    if (low is not None and value < low) or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ConfigError(f"{name}={value} must be {limits}.")


def _check_one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is none of {', '.join(map(repr, allowed))}.")


def _find(path: str) -> Path:
    for candidate in (Path(path), _PROJECT_ROOT / path):
        if candidate.is_file():
            return candidate.resolve()
    known = sorted(
        f"configs/{file.name}"
        for file in (_PROJECT_ROOT / "configs").glob("*.py")
        if file.stem not in ("__init__", "base")
    )
    raise ConfigError(f"config {path!r} does not exist; this project has {', '.join(known)}.")


def _call_get_config(path: Path, argument: str) -> ConfigDict:
    spec = importlib.util.spec_from_file_location(f"experiment_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"config {path} cannot be read: {type(error).__name__}: {error}"
        ) from error
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise ConfigError(f"config {path} has no function get_config().")
    takes_argument = bool(inspect.signature(get_config).parameters)
    if argument and not takes_argument:
        raise ConfigError(f"config {path} takes no argument; {argument!r} was given.")
    config = get_config(argument) if argument else get_config()
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"config {path}: get_config() must return a ConfigDict.")
    return config


def _override(config: ConfigDict, override: str, source: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override {override!r}: write section.field=value.")
    section = config
    *parents, field = key.split(".")
    for part in parents:
        section = section.get(part) if isinstance(section, ConfigDict) else None
    is_open = isinstance(section, ConfigDict) and ".".join(parents) in _OPEN_SECTIONS
    if is_open and field not in section:
        with section.unlocked():
            section[field] = type(next(iter(section.values())))()
    if not isinstance(section, ConfigDict) or field not in section:
        near = difflib.get_close_matches(key, _keys(config), n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(f"{source} has no setting {key!r}{hint}")
    old = section[field]
    if isinstance(old, ConfigDict):
        raise ConfigError(f"{key} is a section, not a setting: name one of {sorted(old)}.")
    section[field] = _parse(key, text, old)


def _parse(key: str, text: str, old: Any) -> Any:
    """Reads `text` as a value of the type of `old`."""
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval(text.capitalize() if isinstance(old, bool) else text)
    except (ValueError, SyntaxError) as error:
        raise ConfigError(
            f"{key}={text!r} cannot be read as {type(old).__name__}, as in {key}={old!r}."
        ) from error
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(old, int) and not isinstance(old, bool) and isinstance(value, float):
        if value != int(value):
            raise ConfigError(f"{key}={text} must be a whole number.")
        value = int(value)  # 4e5 reads better than 400000
    if isinstance(old, tuple) and isinstance(value, int | list):
        value = (value, value) if isinstance(value, int) else tuple(value)
    if type(value) is not type(old):
        raise ConfigError(
            f"{key}={text!r} is {type(value).__name__}; it must be {type(old).__name__}, "
            f"as in {key}={old!r}."
        )
    return value


def _keys(config: ConfigDict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            keys += _keys(value, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
