"""Files that are whole or absent: written under a temporary name, then renamed."""

import json
from typing import Any

from etils import epath


def write_atomically(path: epath.PathLike, content: str | bytes) -> None:
    """Writes a file under a temporary name, then renames: no reader ever sees half of it.

    Missing folders above it are made.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.partial"
    if isinstance(content, bytes):
        temporary.write_bytes(content)
    else:
        temporary.write_text(content)
    temporary.replace(path)


def write_json(path: epath.PathLike, value: Any, *, indent: int | None = None) -> None:
    """Writes `value` as JSON, as `write_atomically` does.

    Numbers that are not finite are refused (ValueError): strict readers would choke on them.
    """
    write_atomically(path, json.dumps(value, allow_nan=False, indent=indent) + "\n" * bool(indent))
