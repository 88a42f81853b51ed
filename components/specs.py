"""Short forms for the specifications of TFX components that are no functions."""

from tfx.types import Artifact
from tfx.types.component_spec import ChannelParameter, ExecutionParameter


def parameters(**types: type) -> dict[str, ExecutionParameter]:
    """Settings by name, with their types."""
    return {name: ExecutionParameter(type=kind) for name, kind in types.items()}


def channels(*, optional: bool = False, **types: type[Artifact]) -> dict[str, ChannelParameter]:
    """Inputs or outputs by name, with their artifacts' types."""
    return {name: ChannelParameter(type=kind, optional=optional) for name, kind in types.items()}
