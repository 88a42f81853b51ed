"""Reads TensorFlow's object-graph checkpoints without building the objects that wrote them.

Such a checkpoint holds a graph of named edges between objects and, at its leaves, variables. A
variable is looked up by walking the edges: the flat keys of the file are only one of the names it
may have been saved under.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from etils import epath
from tensorflow.core.protobuf import trackable_object_graph_pb2

from pix2seq_model.errors import CheckpointError

_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredVariable:
    """A variable of a checkpoint: the key of its values, their shape, the path it was found at."""

    key: str
    shape: tuple[int, ...]
    path: str


class ObjectGraphCheckpoint:
    """One checkpoint, opened.

    Args:
      location: a folder with a checkpoint in it (the latest is taken) or the prefix of its files,
        local or gs://.

    Raises:
      CheckpointError: there is none, or it is damaged or of another kind; names the file.
    """

    def __init__(self, location: str):
        self.prefix = find_prefix(location)
        try:
            self._reader = tf.train.load_checkpoint(self.prefix)
            self._shapes = self._reader.get_variable_to_shape_map()
            self._check_size()
            if _GRAPH_KEY not in self._shapes:
                raise CheckpointError(
                    f"{self.prefix} is no object-graph checkpoint: it has no {_GRAPH_KEY}. Give "
                    "one that tf.train.Checkpoint wrote."
                )
            graph = trackable_object_graph_pb2.TrackableObjectGraph()
            graph.ParseFromString(self._reader.get_tensor(_GRAPH_KEY))
        except CheckpointError:
            raise
        except Exception as error:
            # The reader raises many types (RuntimeError, errors.DataLossError, DecodeError).
            raise CheckpointError(
                f"{self.prefix} cannot be read: {_first_line(error)}. The files are damaged or "
                "incomplete: copy them again."
            ) from error
        self._nodes = graph.nodes

    def find(self, *alternatives: Sequence[str]) -> StoredVariable | None:
        """The variable at the first of some paths that exists.

        Args:
          *alternatives: paths from the root, as sequences of names. An edge fits a name if it is
            called so, or "<anything>/<name>": layers save their own weights under both.

        Returns:
          None if there is none.
        """
        for path in alternatives:
            node = self._walk(path)
            if node is not None and node.attributes:
                key = node.attributes[0].checkpoint_key
                if key in self._shapes:
                    shape = tuple(self._shapes[key])
                    return StoredVariable(key=key, shape=shape, path="/".join(path))
        return None

    def names(self, *path: str) -> list[str]:
        """Names of the edges that leave the object at a path; empty if it does not exist."""
        node = self._walk(path)
        return [] if node is None else [child.local_name for child in node.children]

    def values(self, variable: StoredVariable) -> np.ndarray:
        """Reads a variable.

        Raises:
          CheckpointError: its values are damaged or missing.
        """
        try:
            return self._reader.get_tensor(variable.key)
        except Exception as error:
            raise CheckpointError(
                f"{self.prefix}: the values of {variable.path} cannot be read: "
                f"{_first_line(error)}. The files are damaged or truncated: copy them again."
            ) from error

    def keys(self, root: str) -> tuple[list[str], int]:
        """Keys below a root: those of variables, and how many of optimizer slots."""
        below = [key for key in self._shapes if key.startswith(f"{root}/")]
        slots = [key for key in below if ".OPTIMIZER_SLOT" in key]
        return sorted(set(below) - set(slots)), len(slots)

    def _walk(self, path):
        node = self._nodes[0]
        for name in path:
            fits = [c for c in node.children if f"/{c.local_name}".endswith(f"/{name}")]
            if not fits:
                return None
            node = self._nodes[fits[0].node_id]
        return node

    def _check_size(self):
        # TensorFlow notices a truncated file only when it reads the values that are gone.
        types = self._reader.get_variable_to_dtype_map()
        needed = sum(
            int(np.prod(shape)) * types[key].size
            for key, shape in self._shapes.items()
            if types[key] != tf.string
        )
        prefix = epath.Path(self.prefix)
        files = sorted(prefix.parent.glob(f"{prefix.name}.data-*"))
        present = sum(file.stat().length for file in files)
        if present < needed:
            raise CheckpointError(
                f"{self.prefix} is truncated: its data files hold {present:,} of at least "
                f"{needed:,} bytes. Copy {prefix.name}.data-* again."
            )


def find_prefix(location: str) -> str:
    """The prefix of a checkpoint's files: of the latest one if `location` is a folder.

    Raises:
      CheckpointError: there is no checkpoint.
    """
    place = epath.Path(location)
    if place.is_dir():
        if latest := tf.train.latest_checkpoint(str(place)):
            return latest
        indices = sorted(place.glob("*.index"), key=lambda file: (len(file.name), file.name))
        problem = f"{location} holds no checkpoint: it has no file ending in .index."
    else:
        index = epath.Path(f"{str(place).removesuffix('.index')}.index")
        indices = [index] if index.exists() else []
        problem = f"{location} is neither a folder nor the prefix of files: no {index}."
    if not indices:
        raise CheckpointError(
            f"{problem} Give the folder of a checkpoint or the prefix of its files."
        )
    return str(indices[-1]).removesuffix(".index")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
