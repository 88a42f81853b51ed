"""A pushed version of a model, which is a SavedModel and a model folder in one.

<destination>/20260314150926535/saved_model.pb, variables/, ...
<destination>/20260314150926535/model.json, model.weights.h5, ...
<destination>/20260314150926535/pushed.json      what was pushed, from where, when
"""

import os
from typing import Any

from etils import epath

from pix2seq_model.errors import ModelError
from pix2seq_model.json_file import read_json
from pix2seq_model.model_folder.folder import MODEL_FILE

PUSHED_FILE = "pushed.json"
GRAPH_FILE = "saved_model.pb"
# In a SavedModel: what, besides the weights, decided its graph.
EXPORT_FILE = "assets.extra/export.json"


def versions(destination: str | os.PathLike) -> list[int]:
    """The versions in a folder that models are pushed to, the newest last."""
    names = (path.name for path in epath.Path(destination).iterdir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def pushed_record(version_dir: str | os.PathLike) -> dict[str, Any] | None:
    """What `pushed.json` in a folder says; None if there is none.

    Raises:
      ModelError: it is damaged.
    """
    path = epath.Path(version_dir) / PUSHED_FILE
    if not path.exists():
        return None
    fix = "remove that folder and push the model again"
    try:
        record = read_json(path, fix=fix, error=ModelError, kind=dict)
        return {**record, "model_folder": str(record["model_folder"])}
    except KeyError as error:
        raise ModelError(f"{path} is damaged (it has no {error}); {fix}") from error


def find_model_folder(place: str | os.PathLike) -> str:
    """The model folder that a person means.

    Args:
      place: a model folder, a pushed version, or the folder of all versions, of which the newest
        is meant; local or gs://.

    Raises:
      ModelError: it is none of them, or a version of an older kind, without a model folder in it,
        whose origin is gone.
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
    if (epath.Path(version) / MODEL_FILE).exists():
        return version
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
    # A version without its record is of a push that was killed.
    candidates = [folder, *(folder / str(number) for number in reversed(versions(folder)))]
    return next((os.fspath(path) for path in candidates if (path / PUSHED_FILE).exists()), None)
