"""Attention as values that can be stored: maps of some images, without network and photograph.

<folder>/attention.json   what each map is of
<folder>/attention.npz    the maps, an array for each image
"""

import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.errors import DataError

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
    maps: dict[str, Any] = {
        str(image.image_id): np.concatenate([seen.maps for seen in (*image.found, *image.given)])
        for image in images
        if image.found or image.given
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **maps)
    write_atomically(folder / _MAPS_FILE, buffer.getvalue())
    write_json(
        folder / _TEXT_FILE,
        [
            {
                "image_id": image.image_id,
                "image_size": image.image_size,
                "content_size": image.content_size,
                "found": [_to_json(seen) for seen in image.found],
                "given": [_to_json(seen) for seen in image.given],
            }
            for image in images
        ],
        indent=1,
    )


def read_attention(folder: epath.PathLike) -> list[ImageAttention]:
    """What `write_attention` wrote.

    Raises:
      DataError: a file is missing or damaged.
    """
    folder = epath.Path(folder)
    try:
        rows = json.loads((folder / _TEXT_FILE).read_text())
        with np.load(io.BytesIO((folder / _MAPS_FILE).read_bytes())) as maps:
            return [_image(row, maps) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder}: {_TEXT_FILE} or {_MAPS_FILE} cannot be read ({error}); evaluate again"
        ) from None


def _to_json(seen: ObjectAttention) -> dict[str, Any]:
    return {
        "name": seen.name,
        "score": seen.score,
        "box_yxyx": seen.box_yxyx,
        "num_maps": len(seen.maps),
    }


def _image(row: dict[str, Any], maps: Any) -> ImageAttention:
    stacked = maps[str(row["image_id"])] if row["found"] or row["given"] else np.empty(0)
    start = 0
    parts: dict[str, tuple[ObjectAttention, ...]] = {}
    for part in ("found", "given"):
        seen = []
        for one in row[part]:
            own = stacked[start : start + one["num_maps"]]
            start += one["num_maps"]
            seen.append(
                ObjectAttention(
                    name=one["name"], score=one["score"], box_yxyx=tuple(one["box_yxyx"]), maps=own
                )
            )
        parts[part] = tuple(seen)
    return ImageAttention(
        image_id=row["image_id"],
        image_size=tuple(row["image_size"]),
        content_size=tuple(row["content_size"]),
        **parts,
    )
