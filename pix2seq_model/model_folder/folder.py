"""A trained model on disk: `model.json` says what it is, `model.weights.h5` holds the weights.

    <folder>/model.json            architecture, vocabulary, categories
    <folder>/model.weights.h5      the weights, by Keras
    <folder>/history/<stage>.jsonl loss curves of the stages that made it
    <folder>/run.json              everything needed to repeat the run
    <folder>/Format-Serving/       the SavedModel

The network is always built by our own code and the weights are loaded into it: nothing that could
execute code is ever read from a folder.
"""

import dataclasses
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.atomic_write import atomic_path, write_json
from pix2seq_model.data.categories import names_by_id
from pix2seq_model.errors import ConfigError, ModelError, shown
from pix2seq_model.json_file import read_json
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.regular_file import irregular_kind
from pix2seq_model.tokens.vocabulary import Vocabulary

MODEL_FILE = "model.json"
WEIGHTS_FILE = "model.weights.h5"
HISTORY_FOLDER = "history"
SERVING_FOLDER = "Format-Serving"
_FORMAT_VERSION = 2
# Weights files that were compared with their digest in this process: place, size, time, digest.
_VERIFIED: set[tuple[str, int, float, str]] = set()
# What layers of folders of format 1 are called now; the files differ in nothing else.
_RENAMED_LAYERS = {"merge": "output_projection"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What `model.json` says.

    Attributes:
      model: the architecture, with the image size it was trained at.
      vocabulary: the token ids.
      categories: ({"id": int, "name": str}, ...) of the data set it was trained on last.
      max_objects: objects of a training sequence.
      source: one line about where the weights come from.
      weights_sha256: digest of the weights file, the identity of the model.
      resize: how its images are resized, as it is evaluated and served; one of
        `input_pipeline.settings.RESIZES`.
      decoding: how its tokens are drawn by default, as it is evaluated and
        served: fields of `decoding.DecodeSettings`, and `seed`; those that are absent have their
        defaults.
    """

    model: ModelConfig
    vocabulary: Vocabulary
    categories: tuple[dict, ...]
    max_objects: int
    source: str = ""
    weights_sha256: str = ""
    resize: str = "antialias"
    decoding: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def category_names(self) -> dict[int, str]:
        return names_by_id(self.categories)

    def decoding_with(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`decoding` with the given values; by default as many objects as in training."""
        return {"max_objects": self.max_objects, **self.decoding, **given}


def save_model_folder(folder: str, network: Any, *, info: ModelInfo) -> ModelInfo:
    """Writes weights and `model.json`, the latter last: a folder with it is complete.

    Args:
      folder: local path or gs:// address; made if absent.
      network: the Keras model.
      info: what to say about it; its `weights_sha256` is filled in.

    Returns:
      `info` with the digest of the weights as written.
    """
    target = epath.Path(folder)
    with atomic_path(target / WEIGHTS_FILE, room=_most_bytes(network)) as local:
        network.save_weights(local)
    info = dataclasses.replace(info, weights_sha256=_weights_digest(network))
    content = {"format_version": _FORMAT_VERSION, **dataclasses.asdict(info)}
    write_json(target / MODEL_FILE, content, indent=1)
    return info


def _most_bytes(network: Any) -> int:
    """What a weights file takes at most: HDF5 adds less than 4 KB for each weight."""
    sizes = (math.prod(weight.shape) * 4 + (4 << 10) for weight in network.weights)
    return sum(sizes) + (64 << 10)


def read_model_info(folder: str) -> ModelInfo:
    """Reads `model.json`.

    Raises:
      ModelError: it is missing or damaged; the message names the file.
    """
    path = epath.Path(folder) / MODEL_FILE
    if not path.exists():
        raise ModelError(
            f"{folder} is not a model folder: it has no {MODEL_FILE}. Give the folder that "
            "training or import_checkpoint wrote."
        )
    fix = "write the model folder again"
    try:
        content = read_json(path, fix=fix, error=ModelError, kind=dict)
        version = content.pop("format_version")
        if version not in (1, _FORMAT_VERSION):
            raise ModelError(
                f"{path} has format_version {version}, this version of the project reads 1 to "
                f"{_FORMAT_VERSION}: use the version that wrote it, or a newer one."
            )
        content["model"] = ModelConfig(**content["model"])
        content["vocabulary"] = Vocabulary(**content["vocabulary"])
        content["categories"] = tuple(content["categories"])
        info = ModelInfo(**content)
        if problem := _problem(info):
            raise ModelError(f"{path} is damaged ({problem}): {fix}.")
        return info
    except ConfigError as error:
        raise ModelError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged ({error!r}): {fix}.") from error


def _problem(info: Any) -> str:
    """What is of no kind that is ever written; "" if all is well."""
    for row in info.categories:
        if type(row["id"]) is not int or not isinstance(row["name"], str):
            return f"categories has {shown(row)}"
    if type(info.max_objects) is not int or info.max_objects < 1:
        return f"max_objects is {shown(info.max_objects)}"
    for field in ("source", "weights_sha256", "resize"):
        if not isinstance(getattr(info, field), str):
            return f"{field} is {shown(getattr(info, field))}"
    return "" if isinstance(info.decoding, dict) else f"decoding is {shown(info.decoding)}"


def wait_for_model(folder: str | os.PathLike, *, marker: str, seconds: float = 3600.0) -> ModelInfo:
    """The description of a model that another process is about to write into a folder.

    Args:
      folder: local path or gs:// address.
      marker: name of what is written there last.
      seconds: how long to wait.

    Raises:
      ModelError: it did not come in this time.
    """
    deadline = time.monotonic() + seconds
    while not (epath.Path(folder) / marker).exists():
        if time.monotonic() > deadline:
            raise ModelError(
                f"{folder} was not completed by the chief within {seconds / 60:.0f} min: see what "
                "stopped it, and whether both see the same folder."
            )
        time.sleep(2.0)
    return read_model_info(os.fspath(folder))


def load_model_folder(
    folder: str, *, image_size: tuple[int, int] | None = None, precision: str = "float32"
) -> tuple[Any, ModelInfo]:
    """Builds the network that a folder describes and loads its weights.

    Args:
      folder: local path or gs:// address.
      image_size: (height, width) in pixels to build it for; as trained if None.
      precision: of weights and computation, "float32" or "bfloat16"; logits are float32 in both.

    Returns:
      The Keras model and its description (with `image_size` as built).

    Raises:
      ModelError: the folder is no model folder or its weights do not fit.
    """
    # They import Keras, which takes seconds; reading model.json alone should not.
    from pix2seq_model.accelerators import leave_to_backend
    from pix2seq_model.network.pix2seq import build_model

    info = read_model_info(folder)
    leave_to_backend()
    if image_size is not None:
        model = dataclasses.replace(info.model, image_size=image_size)
        info = dataclasses.replace(info, model=model)
    # As they were saved: the digest is that of float32 values.
    network = build_model(info.model, info.vocabulary, precision="float32")
    load_weights(network, folder)
    if precision != "float32":
        saved = network.weights
        network = build_model(info.model, info.vocabulary, precision=precision)
        for weight, value in zip(network.weights, saved, strict=True):
            weight.assign(value)
    return network, info


def load_weights(network: Any, folder: str) -> None:
    """Loads a folder's weights into a float32 network of the same architecture.

    They are compared with the digest in `model.json`, once for each state of the file in a process.

    Raises:
      ModelError: the weights file is missing, damaged, changed, not finite or of another
        architecture.
    """
    expected = read_model_info(folder).weights_sha256
    source = epath.Path(folder) / WEIGHTS_FILE
    if not source.exists():
        raise ModelError(f"{source} is missing: the model folder is incomplete.")
    if kind := irregular_kind(source):
        raise ModelError(f"{source} {kind}: the model folder is damaged; copy it again.")
    state = (os.fspath(source), *_size_and_time(source), expected)
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / WEIGHTS_FILE
        try:
            source.copy(local)
        except OSError as error:
            raise ModelError(
                f"{source} cannot be copied to the temporary folder {scratch} "
                f"({error.strerror or error}): free some space there if it is full, or name "
                "another folder in TMPDIR."
            ) from error
        try:
            _rename_layers(local)
            network.load_weights(local)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"{source} cannot be loaded into the network that {MODEL_FILE} describes: {error}"
            ) from error
    if state not in _VERIFIED:
        _verify(network, expected, source)
        _VERIFIED.add(state)


def _size_and_time(path: epath.Path) -> tuple[int, float]:
    if os.fspath(path).startswith("gs://"):
        stat = path.stat()
        return stat.length, stat.mtime
    # To the nanosecond: a file may be written twice within a second.
    local = os.stat(path)
    return local.st_size, local.st_mtime_ns


def _verify(network: Any, expected: str, source: epath.Path) -> None:
    if _weights_digest(network) != expected:
        raise ModelError(
            f"{source} does not hold the weights that {MODEL_FILE} next to it describes (its "
            "weights_sha256 is another): one of them was changed or damaged after they were "
            "written. Copy the folder again, or train or import the model again."
        )
    for weight in network.weights:
        if not np.isfinite(weight.numpy()).all():
            raise ModelError(
                f"{source}: the weight {weight.path} holds values that are not finite, so the "
                "model cannot find anything. Take another checkpoint, or train it again."
            )


def _rename_layers(weights_file: Path) -> None:
    """Brings the names in a weights file of format 1 up to date; no file of format 2 has them."""
    import h5py

    names: list[str] = []
    with h5py.File(weights_file) as weights:
        weights.visit(names.append)
    old = [name for name in names if name.rsplit("/", 1)[-1] in _RENAMED_LAYERS]
    if old:
        weights_file.chmod(0o600)
        with h5py.File(weights_file, "r+") as weights:
            for name in old:
                parent, last = name.rsplit("/", 1)
                weights.move(name, f"{parent}/{_RENAMED_LAYERS[last]}")


def _weights_digest(network: Any) -> str:
    # Of the values, not of the file: equal weights may have other names and dates in it.
    digest = hashlib.sha256()
    for weight in network.weights:
        values = weight.numpy()
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
