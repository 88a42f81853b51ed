"""What a setting of a config means, where its value comes from, and what else it may be.

The texts are those of the settings' own classes: the lines under `Attributes:`.
"""

import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from pix2seq_model.data.settings import DataSettings
from pix2seq_model.errors import ConfigError
from pix2seq_model.evaluation.settings import BlessingSettings, EvaluationSettings
from pix2seq_model.experiment.loading import read_config
from pix2seq_model.experiment.settings import (
    CloudSettings,
    OwnDataSettings,
    PushSettings,
    StageSource,
)
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.setting_checks import MAX_SEED
from pix2seq_model.tokens.vocabulary import Vocabulary
from pix2seq_model.training.settings import STAGES, LoggingSettings, StageSettings

BASE = "configs/base.py"
_KINDS: dict[str, tuple[type, ...]] = {
    "vocabulary": (Vocabulary,),
    "model": (ModelConfig,),
    **{f"data.{stage}": (DataSettings,) for stage in STAGES},
    "own_data": (OwnDataSettings,),
    **dict.fromkeys(STAGES, (StageSource, StageSettings)),
    "evaluation": (EvaluationSettings, BlessingSettings),
    "logging": (LoggingSettings,),
    "push": (PushSettings,),
    "cloud": (CloudSettings,),
}
_WITHOUT_CLASS = {
    "name": ("of the experiment, for people and for folders", "text"),
    "seed": (
        "of the weights, the order of images and objects, and all else that is drawn",
        f"whole number, at least 0 and at most {MAX_SEED}",
    ),
    "evaluation.on_beam": (
        "detect with the workers of a Beam job, with the same arguments as the conversion",
        "true or false",
    ),
}
_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What is known of a setting.

    Attributes:
      meaning: one or more sentences; empty if nothing was written.
      allowed: its type and limits, in words.
      default: in configs/base.py.
    """

    meaning: str
    allowed: str
    default: Any


@dataclasses.dataclass(frozen=True)
class Value:
    """A setting of a resolved config.

    Attributes:
      key: as "finetune.sequence.order".
      value: that a run would use.
      source: configs/base.py, the config, "command line", "found in the folder", "scan of the
        data", or "recipe".
    """

    key: str
    value: Any
    source: str


def resolved_values(
    config: ConfigDict,
    name: str,
    *,
    given: Sequence[str],
    all_overrides: Sequence[str],
    scanned: Container[str] = (),
    recognised: Container[str] = (),
) -> list[Value]:
    """Every setting of a config with where its value comes from.

    Args:
      config: as loaded for a command.
      name: of the config.
      given: overrides of the user.
      all_overrides: these, and what recipes and the scan of the data set.
      scanned: the settings that the scan set.
      recognised: the settings that were found by looking into a folder.
    """
    base = dict(_flat(read_config(BASE)))
    own = dict(_flat(read_config(name)))
    command_line, all_keys = (
        {override.partition("=")[0] for override in overrides}
        for overrides in (given, all_overrides)
    )
    values = []
    for key, value in _flat(config):
        source = BASE if key in base and base[key] == own.get(key) else name
        if key in recognised:
            source = "found in the folder"
        elif key in command_line:
            source = "command line"
        elif key in all_keys:
            source = "scan of the data" if key in scanned else "recipe"
        values.append(Value(key, value, source))
    return values


def explain(key: str) -> Explanation:
    """What a setting means, as "finetune.sequence.order".

    Raises:
      ConfigError: there is no such setting; names the nearest.
    """
    base = dict(_flat(read_config(BASE)))
    if key in _WITHOUT_CLASS:
        meaning, allowed = _WITHOUT_CLASS[key]
        return Explanation(meaning, allowed, base[key])
    for prefix, kinds in _KINDS.items():
        if key.startswith(f"{prefix}."):
            meaning, allowed = _described(kinds, key.removeprefix(f"{prefix}.").split("."))
            if allowed:
                return Explanation(meaning, allowed, base.get(key))
    near = difflib.get_close_matches(key, base, n=1)
    hint = f"; did you mean {near[0]}?" if near else f": all of them are in {BASE}."
    raise ConfigError(f"there is no setting {key!r}{hint}")


def _flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _described(kinds: Sequence[type], path: Sequence[str]) -> tuple[str, str]:
    """Meaning and allowed values of the field at a path into dataclasses."""
    for kind in kinds:
        fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
        field = fields.get(path[0])
        if field is None:
            continue
        if len(path) > 1 and isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            return _described((field.type,), path[1:])
        texts = {name: text for base in reversed(kind.__mro__) for name, text in _texts(base)}
        return texts.get(path[0], ""), _allowed(field, path[1:])
    return "", ""


def _texts(kind: type) -> Iterator[tuple[str, str]]:
    """The names under `Attributes:` of a docstring, each with its text."""
    document = inspect.cleandoc(vars(kind).get("__doc__") or "")
    _, found, lines = document.partition("Attributes:\n")
    if not found:
        return
    lines = re.split(r"\n\n?(?=\S)", lines)[0]
    for entry in re.split(r"\n(?=  \S)", lines):
        names, _, text = entry.strip().partition(": ")
        for name in names.split(", "):
            yield name, " ".join(text.split())


def _allowed(field: dataclasses.Field, entry: Sequence[str]) -> str:
    """What a field may be, or an entry of one that is a mapping; empty if it has no entries."""
    origin, parts = typing.get_origin(field.type), typing.get_args(field.type)
    if origin is tuple and not entry:
        inner = _WORDS.get(parts[0], "tuple")
        word = f"tuple of {inner}s" if parts[-1] is ... else f"{len(parts)} {inner}s"
    elif origin is Mapping:
        return _WORDS[parts[1]] if entry else f"{_WORDS[parts[1]]} by name"
    elif entry:
        return ""
    else:
        word = _WORDS.get(typing.cast(Any, field.type), "section")
    if one_of := field.metadata.get("one_of"):
        return f"one of {', '.join(map(str, one_of))}"
    limits = field.metadata.get("limits") or {}
    return ", ".join([word, *(f"{name} {limit:.10g}" for name, limit in limits.items())])
