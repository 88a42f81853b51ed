"""A pushed version of a model, and how to find the model folder that it was made from.

<destination>/20260314150926535/saved_model.pb, variables/, ...
<destination>/20260314150926535/pushed.json      what was pushed, from where, when
"""

import json
import os
from typing import Any

from etils import epath

from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.folder import MODEL_FILE

PUSHED_FILE = "pushed.json"
GRAPH_FILE = "saved_model.pb"


def versions(destination: str | os.PathLike) -> list[int]:
    """The versions in a folder that models are pushed to, the newest last."""
    names = (path.name for path in epath.Path(destination).iterdir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def pushed_record(version_dir: str | os.PathLike) -> dict[str, Any] | None:
    """What `pushed.json` of a version says; None if there is none."""
    path = epath.Path(version_dir) / PUSHED_FILE
    return json.loads(path.read_text()) if path.exists() else None


def find_model_folder(place: str | os.PathLike) -> str:
    """The model folder that a person means.

    Args:
      place: a model folder, a pushed version, or the folder of all versions, of which the newest
        is meant; local or gs://.

    Raises:
      ModelError: it is none of them, or the folder that a version was pushed from is gone.
    """
    folder = epath.Path(place)
    if (folder / MODEL_FILE).exists():
        return os.fspath(folder)
    version = find_pushed_version(folder)
    if version is None:
        raise ModelError(
            f"{place} is not a model folder: it has no {MODEL_FILE}, and no {PUSHED_FILE} that "
            "says which folder a pushed model comes from. Give the folder that training or "
            "import_checkpoint wrote."
        )
    record = pushed_record(version)
    assert record is not None  # that is what makes it a version
    origin = epath.Path(record["model_folder"])
    if not (origin / MODEL_FILE).exists():
        raise ModelError(
            f"{version} was pushed from {origin}, which is no model folder any more: give the "
            "model folder itself."
        )
    return os.fspath(origin)


def find_pushed_version(place: str | os.PathLike) -> str | None:
    """The pushed version that `place` is, or the newest one in it; None if there is neither."""
    folder = epath.Path(place)
    if not folder.is_dir():
        return None
    candidates = [folder, *(folder / str(newest) for newest in versions(folder)[-1:])]
    return next((os.fspath(path) for path in candidates if (path / PUSHED_FILE).exists()), None)
