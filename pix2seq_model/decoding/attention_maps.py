"""Attention as values that can be stored: maps of some images, without network and photograph.

<folder>/attention.json   what each map is of
<folder>/attention.npz    the maps, an array for each image
"""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import read_json

TOKEN_NAMES = ("ymin", "xmin", "ymax", "xmax", "class")

_TEXT_FILE = "attention.json"
_MAPS_FILE = "attention.npz"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ObjectAttention:
    """Where the decoder looks for the tokens of one object.

    Attributes:
      name: of the class that the network reads, for people.
      score: its probability.
      box_yxyx: in [0, 1] of the photograph.
      maps: float32 (tokens, rows, columns), of all five tokens or of the class alone.
    """

    name: str
    score: float
    box_yxyx: tuple[float, float, float, float]
    maps: np.ndarray

    @property
    def token_names(self) -> tuple[str, ...]:
        """What each map is of."""
        return TOKEN_NAMES[-len(self.maps) :]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageAttention:
    """The attention of one image.

    Attributes:
      image_id: of the ground truth.
      image_size: height and width of the network's input, which the maps cover.
      content_size: height and width that the photograph takes of it, from the upper left corner.
      found: the first objects of the generated sequence.
      given: boxes that were given, each for its class alone.
    """

    image_id: int
    image_size: tuple[int, int]
    content_size: tuple[int, int]
    found: tuple[ObjectAttention, ...] = ()
    given: tuple[ObjectAttention, ...] = ()


def write_attention(folder: epath.PathLike, images: Sequence[ImageAttention]) -> None:
    """Writes the two files; the maps keep every digit."""
    folder = epath.Path(folder)
    rows = [dataclasses.asdict(image) for image in images]
    maps: dict[str, Any] = {}
    for row in rows:
        seen = [*row["found"], *row["given"]]
        if seen:
            maps[str(row["image_id"])] = np.concatenate([one["maps"] for one in seen])
        for one in seen:
            one["num_maps"] = len(one.pop("maps"))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **maps)
    write_atomically(folder / _MAPS_FILE, buffer.getvalue())
    write_json(folder / _TEXT_FILE, rows, indent=1)


def read_attention(folder: epath.PathLike) -> list[ImageAttention]:
    """What `write_attention` wrote.

    Raises:
      DataError: a file is missing or damaged.
    """
    folder = epath.Path(folder)
    try:
        rows = read_json(folder / _TEXT_FILE, fix="evaluate again", kind=list)
        with np.load(io.BytesIO((folder / _MAPS_FILE).read_bytes())) as maps:
            return [_image(row, maps) for row in rows]
    except DataError:  # It says what to do.
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}: {_TEXT_FILE} or {_MAPS_FILE} cannot be read ({error}); evaluate again"
        ) from None


def _image(row: dict[str, Any], maps: Any) -> ImageAttention:
    rest = maps[str(row["image_id"])] if row["found"] or row["given"] else np.empty(0)

    def seen(one: dict[str, Any]) -> ObjectAttention:
        nonlocal rest
        own, rest = np.split(rest, [one.pop("num_maps")])
        return ObjectAttention(**{**one, "box_yxyx": tuple(one["box_yxyx"]), "maps": own})

    sizes = {name: tuple(row[name]) for name in ("image_size", "content_size")}
    parts = {part: tuple(map(seen, row[part])) for part in ("found", "given")}
    return ImageAttention(**{**row, **sizes, **parts})
