"""What a data set's boxes are like, as histograms that add up over shards.

They are counted while the records are written, so that a report on millions of images reads no
image again.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Box sizes, the square root of the area in pixels: four bins for each doubling, 1 to 4096.
SIZE_EDGES = 2.0 ** np.arange(0, 12.25, 0.25)
# Width over height, two to the power of -4 to 4.
ASPECT_EDGES = 2.0 ** np.arange(-4, 4.25, 0.25)
GRID = 16
# Longer side of images, pixels: eight bins for each doubling, 16 to 16384.
SIDE_EDGES = 2.0 ** np.arange(4, 14.125, 0.125)
# COCO's borders between small, medium and large, on the annotation's area in pixels.
_AREA_EDGES = (0.0, 32.0**2, 96.0**2, float("inf"))
AREA_NAMES = ("small", "medium", "large")
_BOXES_HELD = 50_000


def crowded_images(objects_per_image: Mapping[Any, int], *, max_objects: int) -> str:
    """Says how many images have more objects than one sequence holds; empty if none has.

    Args:
      objects_per_image: number of objects to images, as in `to_json`.
      max_objects: of a sequence.
    """
    over = {int(n): images for n, images in objects_per_image.items() if int(n) > max_objects}
    if not over:
        return ""
    images = sum(over.values())
    lost = sum((count - max_objects) * number for count, number in over.items())
    return (
        f"{'1 image has' if images == 1 else f'{images:,} images have'} more than the "
        f"{max_objects} objects that one sequence holds (at most {max(over):,}), which leaves out "
        f"{lost:,} boxes each time. Raise sequence.max_objects of the stage and "
        "evaluation.max_objects, with model.max_seq_len at 5 tokens an object; COCO's AP counts "
        "the 100 best detections of an image and category whatever they are"
    )


def _histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts into bins; what lies beyond the first or last edge goes to the first or last bin."""
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(bins, minlength=len(edges) - 1)


class BoxStatistics:
    """Counts of images and boxes. Crowd boxes count as `crowd` only.

    `empty` are the images without any box, crowds included; None if a part did not count them.
    """

    def __init__(self) -> None:
        self.objects_per_image: collections.Counter[int] = collections.Counter()
        self.classes: collections.Counter[int] = collections.Counter()
        self.images_with_class: collections.Counter[int] = collections.Counter()
        self.crowd = 0
        self.empty: int | None = 0
        edges = {"sizes": SIZE_EDGES, "aspects": ASPECT_EDGES, "sides": SIDE_EDGES}
        bins = {name: len(those) - 1 for name, those in edges.items()}
        bins |= {"centers": GRID * GRID, "areas": len(AREA_NAMES)}
        self._histograms = {name: np.zeros(number, np.int64) for name, number in bins.items()}
        self._boxes: list[tuple[float, ...]] = []
        self._sides: list[int] = []

    def add_image(
        self,
        *,
        height: int,
        width: int,
        boxes_yxyx: Sequence[Sequence[float]],
        labels: Sequence[int],
        areas: Sequence[float],
        is_crowd: Sequence[bool],
    ) -> None:
        """Adds an image; `boxes_yxyx` are 0 to 1, `areas`, `height` and `width` in pixels."""
        seen = []
        for box, label, area, crowd in zip(boxes_yxyx, labels, areas, is_crowd, strict=True):
            if crowd:
                self.crowd += 1
            else:
                seen.append(label)
                self._boxes.append((*box, area, height, width))
        if not labels and self.empty is not None:
            self.empty += 1
        self.objects_per_image[len(seen)] += 1
        self.classes.update(seen)
        self.images_with_class.update(set(seen))
        self._sides.append(max(height, width))
        if len(self._boxes) >= _BOXES_HELD:
            self._count()

    def _count(self) -> None:
        """Moves the boxes held into the histograms."""
        self._histograms["sides"] += _histogram(np.array(self._sides, np.float64), SIDE_EDGES)
        self._sides.clear()
        if not self._boxes:
            return
        ymin, xmin, ymax, xmax, area, rows, columns = np.array(self._boxes, np.float64).T
        self._boxes.clear()
        height, width = (ymax - ymin) * rows, (xmax - xmin) * columns
        centers = (ymin + ymax) / 2, (xmin + xmax) / 2
        cell = [np.clip((v * GRID).astype(int), 0, GRID - 1) for v in centers]
        counted = {
            "sizes": _histogram(np.sqrt(height * width), SIZE_EDGES),
            "aspects": _histogram(width / np.maximum(height, 1e-9), ASPECT_EDGES),
            "centers": np.bincount(cell[0] * GRID + cell[1], minlength=GRID * GRID),
            "areas": _histogram(area, np.array(_AREA_EDGES)),
        }
        for name, counts in counted.items():
            self._histograms[name] += counts

    def add(self, other: Mapping[str, Any]) -> None:
        """Adds statistics as `to_json` gives them."""
        self._count()
        self.crowd += other["crowd"]
        more = other.get("empty")
        self.empty = None if self.empty is None or more is None else self.empty + more
        for name in ("objects_per_image", "classes", "images_with_class"):
            getattr(self, name).update({int(key): n for key, n in other[name].items()})
        for name, counts in self._histograms.items():
            counts += np.array(other[name], np.int64)

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers; see the attributes, and `sizes` and so on by their edges above."""
        self._count()
        counters = {
            name: {str(key): n for key, n in sorted(getattr(self, name).items())}
            for name in ("objects_per_image", "classes", "images_with_class")
        }
        histograms = {name: counts.tolist() for name, counts in self._histograms.items()}
        return {"crowd": self.crowd, "empty": self.empty, **counters, **histograms}
