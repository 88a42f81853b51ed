"""Short forms for TFX components that are no functions."""

import json
from typing import Any

from tfx.types import Artifact, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

Artifacts = dict[str, list[Artifact]]


def parameters(**types: type) -> dict[str, ExecutionParameter]:
    """Settings by name, with their types."""
    return {name: ExecutionParameter(type=kind) for name, kind in types.items()}


def channels(*, optional: bool = False, **types: type[Artifact]) -> dict[str, ChannelParameter]:
    """Inputs or outputs by name, with their artifacts' types."""
    return {name: ChannelParameter(type=kind, optional=optional) for name, kind in types.items()}


def setting_of(override: str) -> str:
    """Returns what an override like "evaluation.top_k=1" sets in the `evaluation` section."""
    return override.partition("=")[0].removeprefix("evaluation.")


class MadeBySpec:
    """A component that is made of what its specification lists, which also checks it.

    Inputs and settings are given by name; a dictionary becomes JSON. Outputs are made.
    """

    SPEC_CLASS: type[ComponentSpec]

    def __init__(self, **given: Any) -> None:
        outputs = {name: Channel(type=kind.type) for name, kind in self.SPEC_CLASS.OUTPUTS.items()}
        settings = {
            name: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
            for name, value in given.items()
        }
        super().__init__(spec=self.SPEC_CLASS(**settings, **outputs))  # type: ignore[call-arg]
