"""Pushes a blessed model to a folder of numbered versions, as TensorFlow Serving reads it.

    <destination>/20260314150926535/saved_model.pb, variables/, ...
    <destination>/20260314150926535/model.json, model.weights.h5, ...    the model folder itself
    <destination>/20260314150926535/pushed.json      what was pushed, from where, when
    <destination>/20260314150926535/score_thresholds.json   the best scores to keep detections from

A version needs nothing but itself: it can be copied, packed and moved, served, and taken as a model
folder by every command.

TFX's own Pusher names a version by the second, so two pushes within one second collide. It also
pushes the same model again whenever its blessing is renewed. Here a version is a number above all
others, and the model that is the newest version already stays where it is.

Vertex AI's Model Registry can keep what was pushed to a bucket, and an endpoint serve it.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import tensorflow as tf
from etils import epath
from tfx.components.util import model_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Model, ModelBlessing, ModelEvaluation, PushedModel
from tfx.utils import io_utils

from components import vertex_registry
from components.blessing import measured
from pix2seq_model.atomic_write import lives, seconds_unchanged, write_json
from pix2seq_model.bucket_file import BucketFile, ChangedError
from pix2seq_model.errors import ModelError
from pix2seq_model.metrics.coco_files import read_metrics
from pix2seq_model.model_folder.folder import MODEL_FILE, SERVING_FOLDER
from pix2seq_model.model_folder.pushed import (
    EXPORT_FILE,
    GRAPH_FILE,
    PUSHED_FILE,
    pushed_record,
    versions,
)
from pix2seq_model.model_folder.thresholds import write_thresholds

_ATTEMPTS = 100
# A copy in the making: which version, on which machine, by which process, and a word of its own.
# Earlier ones have no word, and the earliest name no machine.
_PARTIAL = re.compile(r"\.\d+(?:-(?P<host>.+))?-(?P<process>\d{1,9})(?:\.[0-9a-f]{8})?\.partial")
# No push takes so long: by then one of another machine, of which nothing can be known, is gone.
_ABANDONED_AFTER_S = 24 * 3600.0
# Of a process that seems to be gone: containers on one machine's network share its name, machines
# may all be called localhost, and the numbers of their processes are their own.
_QUIET_FOR_S = 600.0
# The copies that this process is making. After a restart another one may have its number.
_in_the_making: set[str] = set()


def push_model(model_folder: str, destination: str) -> dict[str, Any]:
    """Copies a model folder and its SavedModel to a new version of `destination`.

    The copy is made under a hidden name and renamed, so that a server never loads half a model. A
    bucket renames file by file: there `model.json` and `saved_model.pb` go last, and then
    `pushed.json`, without which a version does not count as pushed; and of two pushes that find a
    number free one takes it, by an object that is created only where there is none.

    Args:
      model_folder: with `model.json` and `Format-Serving/`; local or gs://.
      destination: folder of the versions; made if absent.

    Returns:
      What `pushed.json` of the newest version says: `version`, `path`, `model_digest`,
      `model_folder`, `pushed_at`; and `already_there`, true if this model was that version.

    Raises:
      ModelError: the folder holds no SavedModel, or the destination cannot be written.
    """
    serving = epath.Path(model_folder) / SERVING_FOLDER
    if not (serving / GRAPH_FILE).exists():
        raise ModelError(f"{serving} holds no SavedModel: train or export the model again.")
    digest = model_digest(model_folder)
    target = epath.Path(destination)
    try:
        target.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        for number in versions(target)[-1:]:
            newest = _record_or_none(target / str(number))
            if newest.get("model_digest") == digest:
                return {**newest, "path": os.fspath(target / str(number)), "already_there": True}
        return {**_push(serving, target, digest, model_folder), "already_there": False}
    except (OSError, tf.errors.OpError) as error:
        said = error.message if isinstance(error, tf.errors.OpError) else error
        raise ModelError(
            f"push.destination {destination} cannot be written ({said}): free some space there if "
            "it is full, or give another folder, with --config.push.destination=…"
        ) from error


def _record_or_none(version: epath.Path) -> dict[str, Any]:
    """What a version says of itself; nothing if that is damaged: then a new one is pushed."""
    try:
        return pushed_record(version) or {}
    except ModelError as error:
        print(f"{error}\nThe model is pushed as a new version.", flush=True)
        return {}


def model_digest(model_folder: str) -> str:
    """The identity of a servable model: its description, weights' digest included, and export."""
    folder = epath.Path(model_folder)
    made = folder / SERVING_FOLDER / EXPORT_FILE
    if not made.exists():  # Of an older version of this project.
        made = folder / SERVING_FOLDER / GRAPH_FILE
    digest = hashlib.sha256()
    for path in (folder / MODEL_FILE, made):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _push(
    serving: epath.Path, target: epath.Path, digest: str, model_folder: str
) -> dict[str, Any]:
    now = datetime.now(UTC)
    stamp = int(now.strftime("%Y%m%d%H%M%S%f")[:-3])
    version = max([stamp, *(number + 1 for number in versions(target))])
    with _hidden_folder(target, version) as hidden:
        io_utils.copy_dir(os.fspath(serving), os.fspath(hidden))
        for path in epath.Path(model_folder).iterdir():
            if path.name != SERVING_FOLDER and not path.name.startswith("."):
                copy = io_utils.copy_dir if path.is_dir() else io_utils.copy_file
                copy(os.fspath(path), os.fspath(hidden / path.name))
        return _take_version(
            hidden,
            target,
            version=version,
            model_digest=digest,
            model_folder=model_folder,
            pushed_at=now.isoformat(timespec="milliseconds"),
        )


def _take_version(
    hidden: epath.Path, target: epath.Path, *, version: int, **said: str
) -> dict[str, Any]:
    """Renames a finished copy to the first version from `version` on that is free."""
    for _ in range(_ATTEMPTS):
        record = {"version": version, "path": os.fspath(target / str(version)), **said}
        write_json(hidden / PUSHED_FILE, record, indent=1)
        with _claim(target, version) as is_ours:
            if is_ours and not (target / str(version)).exists():
                try:
                    _rename(hidden, target / str(version))
                    return record
                except OSError:
                    # In a bucket some files have had their new name.
                    if _is_in_bucket(target) or not (target / str(version)).exists():
                        raise
        version += 1  # Another push took this number in the meantime.
    raise ModelError(f"{target}: {_ATTEMPTS} other pushes took every version; push again.")


@contextlib.contextmanager
def _claim(target: epath.Path, version: int) -> Iterator[bool]:
    """Whether no other push writes this version; in a bucket, where files come one by one."""
    if not _is_in_bucket(target):
        yield True
        return
    # Named like a copy in the making: what a killed push leaves of it is removed as those are.
    claim = BucketFile(os.fspath(target / f".{version}-claim-0.partial" / "claim"))
    try:
        generation = claim.write(uuid.uuid4().hex, over=0)
    except ChangedError:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            claim.delete(over=generation)


@contextlib.contextmanager
def _hidden_folder(target: epath.Path, version: int) -> Iterator[epath.Path]:
    """A name for a copy in the making; nothing is left of it if the block raises."""
    word = uuid.uuid4().hex[:8]
    hidden = target / f".{version}-{platform.node()}-{os.getpid()}.{word}.partial"
    _in_the_making.add(hidden.name)
    try:
        yield hidden
    except BaseException:
        with contextlib.suppress(Exception):
            hidden.rmtree()
        raise
    finally:
        _in_the_making.discard(hidden.name)


def _remove_abandoned(target: epath.Path) -> None:
    """Removes what interrupted pushes have left."""
    for path in target.iterdir():
        if name := _PARTIAL.fullmatch(path.name):
            try:
                if _is_abandoned(path, name):
                    path.rmtree()
            except (FileNotFoundError, tf.errors.NotFoundError):
                pass  # Another push has removed it too, or was making it and is done.
            except (OSError, tf.errors.OpError) as error:  # It holds up no push.
                print(f"{path}, left by an interrupted push, cannot be removed: {error}")


def _is_abandoned(path: epath.Path, name: re.Match[str]) -> bool:
    if path.name in _in_the_making:
        return False
    if not _is_in_bucket(path) and name["host"] == platform.node():
        return not lives(int(name["process"])) and seconds_unchanged(path) > _QUIET_FOR_S
    return seconds_unchanged(path) > _ABANDONED_AFTER_S


def _files_in(folder: epath.Path) -> list[epath.Path]:
    return [epath.Path(place) / name for place, _, names in folder.walk() for name in names]


def _is_in_bucket(path: epath.Path) -> bool:
    return os.fspath(path).startswith("gs://")


def _rename(hidden: epath.Path, version: epath.Path) -> None:
    if _is_in_bucket(hidden):
        _rename_files(hidden, version)
    else:
        hidden.rename(version)


def _rename_files(hidden: epath.Path, version: epath.Path) -> None:
    """File by file; if one cannot be renamed, nothing is left of those before it."""
    files = _files_in(hidden)
    last = (MODEL_FILE, GRAPH_FILE, PUSHED_FILE)
    files.sort(key=lambda file: last.index(file.name) if file.name in last else -1)
    renamed = []
    try:
        for file in files:
            renamed.append(version / file.relative_to(hidden))
            file.rename(renamed[-1])
    except BaseException:
        for file in renamed:
            with contextlib.suppress(Exception):
                file.unlink()
        raise
    with contextlib.suppress(Exception):  # The version is whole.
        hidden.rmtree()


@component
def ModelPusher(  # noqa: N802
    model: InputArtifact[Model],
    model_blessing: InputArtifact[ModelBlessing],
    evaluation: InputArtifact[ModelEvaluation],
    pushed_model: OutputArtifact[PushedModel],
    destination: Parameter[str],
    registry: Parameter[str] = "",
) -> None:
    """Pushes `model` if `model_blessing` allows it; says in the artifact what was done.

    Args:
      model: model folder.
      model_blessing: decides.
      evaluation: what was measured; the version takes its score thresholds, the registry shows it.
      pushed_model: where `pushed.json` goes.
      destination: folder of the versions.
      registry: of Vertex AI, as `vertex_registry.registry_settings` writes it; "" is none.
    """
    if not model_utils.is_model_blessed(model_blessing):
        pushed_model.set_int_custom_property("pushed", 0)
        return
    record = push_model(model.uri, destination)
    metrics = read_metrics(evaluation.uri)
    if thresholds := metrics.get("score_thresholds"):
        # Of the version that was there already, too: it may have been evaluated on other images.
        write_thresholds(record["path"], thresholds)
    if registry:
        record["vertex"] = vertex_registry.register(record, json.loads(registry), measured(metrics))
    write_json(epath.Path(pushed_model.uri) / PUSHED_FILE, record, indent=1)
    # The properties TFX's Pusher sets.
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property("pushed_destination", record["path"])
    pushed_model.set_string_custom_property("pushed_version", str(record["version"]))
    for name, resource in record.get("vertex", {}).items():
        pushed_model.set_string_custom_property(name, resource)
