"""Resumable training: everything a run needs to go on as if it had never stopped.

A checkpoint is one file, `step-000001200.npz`: the model's variables (weights, batch statistics
and the states of its random generators), the optimizer's (moments, moving average, accumulated
gradients, iteration) and the running sums of the log line in the making. The input needs no state
of its own: it is a function of its seed and the number of batches taken from it.

One file, because a file can be put in place at once (written under a temporary name, then
renamed) and because the zip format keeps a checksum of every array: a truncated or altered file
is noticed when it is read, set aside, and the checkpoint before it serves. One that cannot be read
at all (no permission, a disk that fails) may be intact: that ends the run before it does anything.
"""

import contextlib
import dataclasses
import errno
import io
import json
import math
import os
import re
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
from etils import epath

from pix2seq_model.atomic_write import PARTIAL, atomic_path
from pix2seq_model.errors import CheckpointError, shown
from pix2seq_model.regular_file import irregular_kind
from pix2seq_model.training.training_model import TrainingModel

_FORMAT = 1
_META = "checkpoint.json"
_NAME = re.compile(r"^step-(\d{9})\.npz$")
# In front of the name of a damaged one, which is kept but does not count any more.
_ASIDE = "damaged-"
# What reading a damaged zip file, or an array in it, can raise.
_DAMAGE: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, IndexError, TypeError),
    *(NotImplementedError, RuntimeError, SyntaxError, tokenize.TokenError),
)


# Of the versions of an array's header that NumPy writes for plain types.
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _DamagedError(Exception):
    """The file was read, and its content is not that of a checkpoint."""


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """A moment of a training run.

    Attributes:
      step: batches taken from the input so far.
      groups: for "model", "optimizer" and "metrics" the variables' values, in their own order.
      record: JSON values that go on as well: the log so far, the time spent.
    """

    step: int
    groups: dict[str, list[np.ndarray]]
    record: dict[str, Any] = dataclasses.field(default_factory=dict)


def take_state(
    model: TrainingModel, *, step: int, record: dict[str, Any] | None = None
) -> TrainingState:
    """Copies the state to the host; after `TrainingStep.synchronize`, between two steps."""
    groups = {
        name: [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
        for name, variables in _variables(model).items()
    }
    return TrainingState(step=step, groups=groups, record=record or {})


def put_state(model: TrainingModel, state: TrainingState) -> None:
    """Sets every variable; after `TrainingStep.synchronize`, between two steps.

    Raises:
      CheckpointError: the state is of another network or optimizer.
    """
    for name, variables in _variables(model).items():
        values = state.groups.get(name, [])
        if len(values) != len(variables):
            raise CheckpointError(
                f"The checkpoint holds {len(values)} {name} variables, this run has "
                f"{len(variables)}: it is of another network or another optimizer. "
                "Train in another work folder."
            )
        for variable, value in zip(variables, values):
            if tuple(variable.shape) != value.shape:
                raise CheckpointError(
                    f"The checkpoint's {name} variable {variable.path} has shape {value.shape}, "
                    f"this run's {tuple(variable.shape)}: it is of another network. "
                    "Train in another work folder."
                )
    for name, variables in _variables(model).items():
        for variable, value in zip(variables, state.groups[name]):
            variable.assign(value)


def checkpoint_steps(work_dir: str | os.PathLike) -> list[int]:
    """The steps of the checkpoints in a work folder, in order; none if there is no such folder."""
    folder = checkpoints_of(work_dir)
    return _steps_in(folder) if folder.is_dir() else []


def checkpoints_of(work_dir: str | os.PathLike) -> epath.Path:
    """The folder of the checkpoints in a work folder."""
    return epath.Path(work_dir) / "checkpoints"


class CheckpointFolder:
    """The checkpoints of one run: written whole or not at all, the last few kept."""

    def __init__(self, folder: str | os.PathLike, *, keep: int = 3) -> None:
        """Makes the folder.

        Args:
          folder: local or gs://.
          keep: how many of the latest checkpoints stay.

        Raises:
          CheckpointError: the folder cannot be made.
        """
        self._folder = epath.Path(folder)
        self._keep = max(1, keep)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"The folder for checkpoints {self._folder} cannot be made ({error}): "
                "name a folder that can be written."
            ) from error

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, in order."""
        return _steps_in(self._folder)

    def save(self, state: TrainingState) -> epath.Path:
        """Writes a checkpoint, then removes the oldest beyond `keep`.

        Those of later steps neither count nor are removed: `restore` has gone on from an earlier
        one, so they are damaged, and could not be renamed.

        Raises:
          CheckpointError: it could not be written; the ones before it are untouched.
        """
        path = self._path(state.step)
        try:
            # What a killed process left half-written.
            for unfinished in self._folder.glob(f"{PARTIAL}*step-*.npz"):
                unfinished.unlink(missing_ok=True)
            with atomic_path(path) as local:
                _write(local, state)
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint {path} could not be written ({error.strerror or error}). The "
                f"earlier ones ({', '.join(map(str, self.steps())) or 'none'}) are intact: free "
                "some space or fix the folder and run the same command to continue."
            ) from error
        for step in [step for step in self.steps() if step <= state.step][: -self._keep]:
            self._path(step).unlink(missing_ok=True)
        return path

    def read(self, step: int) -> TrainingState:
        """The checkpoint of one step.

        Raises:
          CheckpointError: it is not there, damaged or cannot be read.
        """
        try:
            return _read(self._path(step))
        except (OSError, _DamagedError) as error:
            raise CheckpointError(
                f"The checkpoint of step {step}, {self._path(step)}, cannot be read ({error}); "
                f"there are those of the steps {', '.join(map(str, self.steps())) or 'none'}."
            ) from error

    def restore(self, *, warn: Callable[[str], None]) -> TrainingState | None:
        """The latest checkpoint that is whole; None where there is none.

        Damaged ones are renamed: they stay, and do not count among those that `save` keeps.

        Args:
          warn: told of each damaged checkpoint.

        Raises:
          CheckpointError: one cannot be read, though it may be whole; nothing was changed.
        """
        for step in reversed(self.steps()):
            path = self._path(step)
            try:
                return _read(path)
            except FileNotFoundError:
                continue  # Another process of this run has set it aside.
            except OSError as error:
                raise CheckpointError(
                    f"The checkpoint {path} cannot be read ({error}), though it may be intact. "
                    "Make it readable and run the same command to continue, or move it out of "
                    "the folder to go on from the one before it."
                ) from error
            except _DamagedError as error:
                aside = path.parent / f"{_ASIDE}{path.name}"
                with contextlib.suppress(OSError):
                    path.replace(aside)
                warn(
                    f"The checkpoint {path} is damaged ({error}): it is set aside as "
                    f"{aside.name}, and the one before it is used, if there is one."
                )
        return None

    def _path(self, step: int) -> epath.Path:
        return self._folder / f"step-{step:09d}.npz"


def _steps_in(folder: epath.Path) -> list[int]:
    matches = (_NAME.match(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def _variables(model: TrainingModel) -> dict[str, list[keras.Variable]]:
    """Every variable that training changes; the paths differ between runs, the order does not."""
    return {
        "model": list(model.variables),
        "optimizer": list(model.optimizer.variables),
        "metrics": list(model.metrics_variables),
    }


def _write(path: Path, state: TrainingState) -> None:
    meta = {
        "format": _FORMAT,
        "step": state.step,
        "variables": {name: len(values) for name, values in state.groups.items()},
        "record": state.record,
    }
    arrays: dict[str, Any] = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    for name, values in state.groups.items():
        arrays.update({f"{name}/{i}": value for i, value in enumerate(values)})
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _read(path: epath.Path) -> TrainingState:
    """Reads a checkpoint; every array's checksum is verified as it is read.

    Raises:
      OSError: it cannot be read.
      CheckpointError: another version of this project wrote it.
      _DamagedError: its content is damaged.
    """
    with contextlib.ExitStack() as stack:
        place = os.fspath(path)
        if place.startswith("gs://"):
            place = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".npz")).name
            _copy_from_bucket(path, place)
        elif kind := irregular_kind(place):
            raise _DamagedError(kind)
        file = stack.enter_context(open(place, "rb"))
        try:
            return _parse(file, name=path.name)
        except OSError as error:
            # A damaged directory of the zip file sends the reader to places before its beginning.
            if error.errno not in (None, errno.EINVAL):
                raise
            raise _DamagedError(f"{type(error).__name__}: {error}") from error
        except CheckpointError as error:
            raise CheckpointError(f"The checkpoint {path} {error}") from error
        except _DAMAGE as error:
            raise _DamagedError(f"{type(error).__name__}: {error}") from error


def _copy_from_bucket(path: epath.Path, place: str) -> None:
    """
    Raises:
      OSError: it cannot be read; FileNotFoundError: it is not there.
    """
    try:
        path.copy(place, overwrite=True)
    except OSError:
        raise
    except Exception as error:  # What reads buckets has errors of its own: TensorFlow's, gcsfs'.
        kind = FileNotFoundError if "NotFound" in type(error).__name__ else OSError
        raise kind(f"{type(error).__name__}: {error}") from error


def _parse(file: IO[bytes], *, name: str) -> TrainingState:
    """
    Args:
      file: of a checkpoint.
      name: of the file, which says its step.
    """
    with zipfile.ZipFile(file) as arrays:
        meta = json.loads(_array(arrays, _META).tobytes())
        if type(meta["format"]) is int and meta["format"] != _FORMAT:
            raise CheckpointError(
                f"is of format {meta['format']}, this version of the project reads {_FORMAT}: "
                "continue with the version that wrote it, or train in another work folder."
            )
        if problem := _problem(meta, step=_NAME.fullmatch(name), names=arrays.namelist()):
            raise ValueError(f"{_META}: {problem}")
        groups = {
            name: [_array(arrays, f"{name}/{i}") for i in range(count)]
            for name, count in meta["variables"].items()
        }
        return TrainingState(step=meta["step"], groups=groups, record=meta["record"])


def _problem(meta: Mapping[str, Any], *, step: re.Match[str] | None, names: list[str]) -> str:
    """What no checkpoint says of itself; "" if all is well."""
    if type(meta["format"]) is not int:
        return f"format {meta['format']!r} is no number"
    if type(meta["step"]) is not int or (step and meta["step"] != int(step[1])):
        return f"step {meta['step']!r} is not that of the file's name"
    if not isinstance(meta["record"], dict):
        return f"record is {shown(meta['record'], 40)}, no object"
    counts = meta["variables"]
    if not isinstance(counts, dict) or any(type(n) is not int or n < 0 for n in counts.values()):
        return f"variables is {shown(counts)}, not a count for each group"
    # Before a place for each is made.
    if sum(counts.values()) != len(names) - 1:
        return f"variables is {shown(counts)}, and the file holds {len(names) - 1} arrays"
    return ""


def _array(arrays: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array, read whole, and so with its checksum, before anything is believed of its shape."""
    entry = arrays.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:  # A few bytes may be packed gigabytes.
        raise ValueError(f"{entry.filename} is packed")
    content = io.BytesIO(arrays.read(entry))
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(content)](content)
    # An array is made by its header, before its values are looked for.
    said, found = math.prod(shape) * dtype.itemsize, entry.file_size - content.tell()
    if said != found or min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError(f"{entry.filename} is of shape {shape}, and has {found} bytes")
    content.seek(0)
    return np.lib.format.read_array(content, allow_pickle=False)
