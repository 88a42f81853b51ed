"""Loads a config by name, applies overrides, checks it.

A config is a Python file with `get_config()` or `get_config(argument)` that returns an
`ml_collections.ConfigDict`; it is named as `configs/coco_finetune.py:vit_b,640`, the part behind
the colon being the argument. A remote step is handed that name and the overrides, not the config.
"""

import ast
import difflib
import functools
import inspect
import operator
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.validation import validate, validate_stage
from pix2seq_model.places import read_place
from pix2seq_model.training.settings import STAGES

# Sections whose keys are names of splits, metrics or labels: an override may add one.
_OPEN_SECTIONS: dict[str, type] = {
    "evaluation.min_metrics": float,
    "evaluation.max_regression": float,
    "cloud.labels": str,
    **{f"data.{stage}.{field}": str for stage in STAGES for field in ("images", "annotations")},
    **{f"data.{stage}.num_shards": int for stage in STAGES},
}
_MLFLOW_STORE = "logging.mlflow_tracking_uri"
_PLACES = (
    _MLFLOW_STORE,
    *(f"{stage}.{field}" for stage in STAGES for field in ("start_from", "recipe")),
    *("evaluation.ground_truth", "push.destination", "ablation.draw_into"),
)
_PLACES_BY_SPLIT = tuple(
    f"data.{stage}.{field}." for stage in STAGES for field in ("images", "annotations")
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
        its own sections alone, so that a change of the evaluation does not train again.

    Raises:
      ConfigError: the file, the argument, an override or a value is wrong; says what to change.
    """
    config = read_config(name, overrides)
    if stage is None:
        validate(config)
    else:
        validate_stage(config, stage)
    return config


def read_config(name: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """As `load_config`, without the checks of values."""
    path, _, argument = name.partition(":")
    config = _call_get_config(_find(path), argument)
    _override(config, overrides, name)
    _read_places(config)
    return config


def _read_places(config: ConfigDict) -> None:
    """Puts every place in a config as the project reads places, "~" being the home folder."""
    for key, given in places_of(config).items():
        if key == _MLFLOW_STORE and "://" in given:
            continue  # MLflow knows addresses of more kinds.
        *parents, field = key.split(".")
        if (place := read_place(given, key)) != given:
            functools.reduce(operator.getitem, parents, config)[field] = place


def places_of(config: ConfigDict) -> dict[str, str]:
    """The values of a config's settings that name a place, by setting."""
    keys = (key for key in _keys(config) if key in _PLACES or key.startswith(_PLACES_BY_SPLIT))
    found = {key: functools.reduce(operator.getitem, key.split("."), config) for key in keys}
    return {key: place for key, place in found.items() if isinstance(place, str)}


def override_section(
    section: dict[str, Any], name: str, overrides: Sequence[str]
) -> dict[str, Any]:
    """A section with overrides like "evaluation.top_k=1" applied; all must be of this section.

    Raises:
      ConfigError: an override is wrong; says what to change.
    """
    config = ConfigDict({name: section})
    _override(config, overrides, f"section {name}")
    return config[name].to_dict()


def _find(path: str) -> Path:
    for candidate in (Path(path), _PROJECT_ROOT / path):
        if candidate.is_file():
            return candidate.resolve()
    files = {file.name for file in (_PROJECT_ROOT / "configs").glob("*.py")}
    known = [f"configs/{name}" for name in sorted(files - {"__init__.py", "base.py"})]
    if not known:
        raise ConfigError(
            f"config {path!r} does not exist in {Path.cwd()}, and this project has no configs "
            f"where it is installed, in {_PROJECT_ROOT}: give the path of a file."
        )
    called = f"configs/{Path(path).stem}.py"
    close = difflib.get_close_matches(called, known, n=1)
    did_you_mean = f" Did you mean {close[0]}?" if close else ""
    raise ConfigError(
        f"config {path!r} does not exist in {Path.cwd()}; this project has {', '.join(known)}, "
        f"which are found from any folder.{did_you_mean}"
    )


def _call_get_config(path: Path, argument: str) -> ConfigDict:
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise ConfigError(f"config {path} has no function get_config().")
        if argument and not inspect.signature(get_config).parameters:
            raise ConfigError(f"config {path} takes no argument; {argument!r} was given.")
        config = get_config(argument) if argument else get_config()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"config {path} cannot be read: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"config {path}: get_config() must return a ConfigDict.")
    return config


def _override(config: ConfigDict, overrides: Sequence[str], source: str) -> None:
    """Locks a config and applies overrides."""
    config.lock()
    for override in overrides:
        _override_one(config, override, source)


def _override_one(config: ConfigDict, override: str, source: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override {override!r}: write section.field=value.")
    section = config
    *parents, field = key.split(".")
    for part in parents:
        section = section.get(part) if isinstance(section, ConfigDict) else None
    kind = _OPEN_SECTIONS.get(".".join(parents))
    if kind and isinstance(section, ConfigDict) and field not in section:
        with section.unlocked():
            section[field] = kind()
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
