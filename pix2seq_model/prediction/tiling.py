"""Large pictures in overlapping squares: small objects are seen at their own size.

The whole image is looked at too, for objects that are larger than a square. What a square shows of
an object is cut at its border, and the overlap shows it twice; both are merged by their overlap, as
in slicing-aided inference (Akyon et al., arXiv:2202.06934).
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pix2seq_model.argument_names import argument
from pix2seq_model.errors import ConfigError
from pix2seq_model.prediction.detect_images import ImageModel, PreparedImage

OVERLAP = 0.25
_SAME_OBJECT = 0.5  # IoU of two boxes of one class
_SMALLEST_TILE = 32
_BORDER = 0.01  # of a square's side


@dataclasses.dataclass(frozen=True, eq=False)
class TiledImage:
    """An image as a whole and in squares; `corners` are left and top of each square in pixels."""

    whole: PreparedImage
    corners: tuple[tuple[int, int], ...]
    tile: int
    is_turned: bool

    @property
    def height(self) -> int:
        return self.whole.height

    @property
    def width(self) -> int:
        return self.whole.width

    @property
    def pixels(self) -> np.ndarray:
        return self.whole.pixels

    def square(self, left: int, top: int) -> np.ndarray:
        """Pixels of the square of a corner."""
        return np.ascontiguousarray(
            self.whole.pixels[top : top + self.tile, left : left + self.tile]
        )


class TiledModel:
    """A model that looks at large images in squares too; see `ImageModel`."""

    batch_size = 1  # of whole images; their squares fill the model's batches
    needs_pixels = True

    def __init__(self, model: ImageModel, *, tile: int, overlap: float = OVERLAP) -> None:
        """
        Args:
          model: looks at each square.
          tile: side of a square in pixels. Images that fit into one are looked at as they are.
          overlap: of neighbours, as a part of the side; what is smaller is whole in one of them.

        Raises:
          ConfigError: squares too small, or an overlap that is none.
        """
        if tile < _SMALLEST_TILE:
            raise ConfigError(
                f"{argument('tile', tile)}: squares have at least {_SMALLEST_TILE} pixels a side."
            )
        if not 0 <= overlap < 1:
            raise ConfigError(f"overlap={overlap} is not from 0 to below 1.")
        self._model, self._tile, self._overlap = model, tile, overlap

    @property
    def category_names(self) -> Mapping[int, str]:
        return self._model.category_names

    def prepare(self, encoded: bytes, **limits: Any) -> TiledImage:
        """The whole image and its squares."""
        return self._cut(self._model.prepare(encoded, **limits))

    def prepare_pixels(self, pixels: np.ndarray, *, keep_pixels: bool = True) -> TiledImage:
        """The whole image and its squares."""
        return self._cut(self._model.prepare_pixels(pixels, keep_pixels=keep_pixels))

    def _cut(self, whole: PreparedImage) -> TiledImage:
        corners = [
            (left, top)
            for top in starts(whole.height, tile=self._tile, overlap=self._overlap)
            for left in starts(whole.width, tile=self._tile, overlap=self._overlap)
        ]
        if len(corners) == 1:
            corners = []
        return TiledImage(whole, tuple(corners), self._tile, whole.is_turned)

    def _parts(self, images: Sequence[TiledImage]) -> Iterator[PreparedImage]:
        """Each image and its squares; these are prepared as they are asked for."""
        for image in images:
            yield image.whole
            for corner in image.corners:
                yield self._model.prepare_pixels(image.square(*corner))

    def detect(
        self, images: Sequence[TiledImage], *, alone: bool = False
    ) -> list[list[dict[str, Any]]]:
        """Objects of each image, most likely first."""
        parts = self._parts(images)
        alone = alone and sum(1 + len(image.corners) for image in images) == 1
        found = (
            rows
            for batch in iter(lambda: list(itertools.islice(parts, self._model.batch_size)), [])
            for rows in self._model.detect(batch, alone=alone)
        )
        results = []
        for image in images:
            rows = next(found)
            for left, top in image.corners:
                rows = rows + [
                    _moved(row, left, top)
                    for row in next(found)
                    if not _is_cut(row, image, (left, top))
                ]
            results.append(merged(rows) if image.corners else rows)
        return results


def starts(length: int, *, tile: int, overlap: float) -> list[int]:
    """Where squares begin along a side: evenly spread, the last one ends with the image."""
    if length <= tile:
        return [0]
    number = int(np.ceil((length - tile) / max(1.0, tile * (1 - overlap)))) + 1
    return [round(start) for start in np.linspace(0, length - tile, number)]


def _moved(row: Mapping[str, Any], left: int, top: int) -> dict[str, Any]:
    x, y, width, height = row["bbox"]
    return {**row, "bbox": [x + left, y + top, width, height]}


def _is_cut(row: Mapping[str, Any], image: TiledImage, corner: tuple[int, int]) -> bool:
    """Whether a box touches a border of its square that is none of the image's.

    What is cut there is whole in a neighbour, if it is not larger than the overlap, or else in the
    whole image.
    """
    x, y, width, height = row["bbox"]
    columns = min(image.tile, image.width - corner[0])
    lines = min(image.tile, image.height - corner[1])
    near_x, near_y = _BORDER * columns, _BORDER * lines
    inner = (corner[0] > 0, corner[1] > 0)
    outer = (corner[0] + columns < image.width, corner[1] + lines < image.height)
    return (
        (inner[0] and x <= near_x)
        or (inner[1] and y <= near_y)
        or (outer[0] and x + width >= columns - near_x)
        or (outer[1] and y + height >= lines - near_y)
    )


def merged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows without those that another of a higher score and of the same category stands for.

    Two boxes are one object if their intersection is over half of their union.
    """
    kept: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: -row["score"]):
        same = (other for other in kept if other["category_id"] == row["category_id"])
        if not any(_overlap(row["bbox"], other["bbox"]) > _SAME_OBJECT for other in same):
            kept.append(dict(row))
    return kept


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two xywh boxes; 0 where there is no area."""
    sides = [
        max(0.0, min(one[k] + one[k + 2], other[k] + other[k + 2]) - max(one[k], other[k]))
        for k in (0, 1)
    ]
    both = sides[0] * sides[1]
    union = one[2] * one[3] + other[2] * other[3] - both
    return both / union if union > 0 else 0.0
