"""Settings that check themselves: a field's limits are next to its default.

A frozen dataclass of settings writes its fields as `steps: int = setting(100, at_least=1)`. One
with rules of its own calls `check_settings(self)` first of all in `__post_init__`; `build_settings`
calls it for any. Needs no TensorFlow.
"""

import dataclasses
import difflib
import math
import operator
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pix2seq_model.errors import ConfigError

_KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
_HOLDS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}
# Seeds go into 32 bits on every backend.
MAX_SEED = 2**31 - 1
_Settings = TypeVar("_Settings")


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    one_of: Sequence[Any] = (),
) -> Any:
    """A dataclass field with its default and its limits; limits hold for each part of a tuple."""
    limits = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    known = {word: limit for word, limit in limits.items() if limit is not None}
    return dataclasses.field(default=default, metadata={"limits": known, "one_of": tuple(one_of)})


def check_settings(settings: Any, section: str = "") -> None:
    """Checks the types and limits of all fields; lists become tuples.

    Args:
      settings: a dataclass instance; fields of other types than int, float, bool, str and tuples
        of these are its own to check.
      section: of the config that the fields are in, for messages.

    Raises:
      ConfigError: names the field, its value and what it may be.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if typing.get_origin(field.type) is tuple:
            value = _tuples(value)
            object.__setattr__(settings, field.name, value)
        name = f"{section}.{field.name}" if section else field.name
        _check_type(name, value, field.type)
        _check_value(name, value, field.metadata)


def build_settings(
    kind: type[_Settings], fields: Mapping[str, Any], section: str, *, prefix: str = ""
) -> _Settings:
    """Makes settings of exactly their fields, and checks them.

    Args:
      kind: the dataclass.
      fields: its fields' values; of a field that is a dataclass itself, its fields'.
      section: of the config that they are in.
      prefix: goes before the messages of the dataclass itself.

    Raises:
      ConfigError: a field is unknown, missing or cannot work.
    """
    known = {field.name: field.type for field in dataclasses.fields(cast(Any, kind))}
    check_names(fields, known, section)
    for name in known:
        if name not in fields:
            raise ConfigError(f"{section}.{name} is missing: start from configs/base.py.")
    parts = {
        name: build_settings(part, fields[name], f"{section}.{name}", prefix=prefix)
        for name, part in known.items()
        if isinstance(part, type) and dataclasses.is_dataclass(part)
    }
    try:
        settings = kind(**{**fields, **parts})
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None
    check_settings(settings, section)
    return settings


def check_names(given: Iterable[str], known: Iterable[str], section: str = "") -> None:
    """Raises ConfigError, with the nearest, at the first name of a section that is no setting."""
    prefix, known = f"{section}." if section else "", list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else "."
            raise ConfigError(f"{prefix}{name} is no setting{hint}")


def check_fields(kinds: Sequence[type], fields: Mapping[str, Any], section: str) -> None:
    """As `check_names` for a section of several settings, and for the sections in it."""
    known = {f.name: f.type for kind in kinds for f in dataclasses.fields(cast(Any, kind))}
    check_names(fields, known, section)
    for name, value in fields.items():
        kind = known[name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{section}.{name} is a section, not a setting: {value!r}.")
            check_fields([kind], value, f"{section}.{name}")


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Raises ConfigError unless a value is a number between two others."""
    _check_type(name, value, float)
    _check_value(name, value, {"limits": {"at least": low, "at most": high}})


def check_one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises ConfigError unless a value is one of those allowed."""
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is none of {', '.join(map(repr, allowed))}.")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _check_type(name: str, value: Any, kind: Any) -> None:
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        if not isinstance(value, tuple) or (parts[-1] is not ... and len(value) != len(parts)):
            count = "" if parts[-1] is ... else f"{len(parts)} "
            raise ConfigError(f"{name}={value!r} must be a tuple of {count}values.")
        for part in value:
            _check_type(name, part, parts[0])
    elif kind in _KINDS:
        right = isinstance(value, int | float if kind is float else kind)
        if kind is not bool and isinstance(value, bool):
            right = False
        if not right or (kind is float and not math.isfinite(value)):
            raise ConfigError(f"{name}={value!r} must be {_KINDS[kind]}.")


def _check_value(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    limits = metadata.get("limits", {})
    for part in value if isinstance(value, tuple) else (value,):
        if metadata.get("one_of"):
            check_one_of(name, part, metadata["one_of"])
        if not all(_HOLDS[word](part, limit) for word, limit in limits.items()):
            words = " and ".join(f"{word} {limit}" for word, limit in limits.items())
            raise ConfigError(f"{name}={value} must be {words}.")
