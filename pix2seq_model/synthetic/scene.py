"""Demonstration photographs: a textured background with shapes on it, and what was drawn where."""

import dataclasses
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from pix2seq_model.synthetic.shapes import SHAPES, outline_xy, surface

_NUM_OBJECTS_PROBABILITIES = (0.06, 0.48, 0.31, 0.15)
_CROWD_PROBABILITY = 0.04
_GRAYSCALE_PROBABILITY = 0.05
# An object that hides more of another than this is placed elsewhere.
_MAX_HIDDEN = 0.25
_OVERSAMPLING = 3


@dataclasses.dataclass(frozen=True)
class DrawnObject:
    """What was drawn.

    Attributes:
      shape: a key of `SHAPES`.
      box_xyxy: pixels, inside the image.
      polygon_xy: outline, float (n, 2) pixels, inside the image; for a crowd the box's corners.
      area: pixels that the outline covers.
      is_crowd: the box covers a group of objects that have no boxes of their own.
    """

    shape: str
    box_xyxy: tuple[float, float, float, float]
    polygon_xy: np.ndarray
    area: float
    is_crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """A photograph: the JPEG file, its size in pixels, and its objects."""

    jpeg: bytes
    height: int
    width: int
    objects: tuple[DrawnObject, ...]


def _soft_noise(height: int, width: int, *, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise, float32 (height, width, 3), about -1 to 1."""
    coarse = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
    image = Image.fromarray((127.5 + 127.5 * coarse).astype(np.uint8))
    smooth = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / 127.5 - 1


def _background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A muted, uneven ground with clutter that is no object; float32 (height, width, 3)."""
    grey = rng.uniform(60, 190)
    tint = rng.uniform(-28, 28, 3)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    side = rng.uniform(0, 2 * math.pi)
    ground = grey + tint + rng.uniform(5, 40) * (x * math.cos(side) + y * math.sin(side))
    for cells, strength in ((3, 22.0), (8, 14.0), (24, 9.0)):
        ground = ground + strength * _soft_noise(height, width, cells=cells, rng=rng)
    clutter = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(clutter)
    for _ in range(rng.integers(2, 7)):
        ends = rng.uniform(0, 1, 4) * [width, height, width, height]
        shade = tuple(int(v) for v in np.clip(grey + tint + rng.uniform(-45, 45), 0, 255))
        draw.line([float(v) for v in ends], fill=shade, width=int(rng.integers(1, 4)))
    grain = rng.normal(0, rng.uniform(2, 7), (height, width, 1)).astype(np.float32)
    return np.asarray(clutter, np.float32) + grain


def _draw(
    canvas: np.ndarray,
    name: str,
    *,
    left_top: np.ndarray,
    size: np.ndarray | tuple[float, float],
    rng: np.random.Generator,
) -> DrawnObject | None:
    """Draws one object into `canvas`; `left_top` and `size` are x, y in pixels.

    Returns:
      What was drawn, or None if less than a pixel of it is inside the canvas.
    """
    shape = SHAPES[name]
    degrees = rng.uniform(-shape.max_turn, shape.max_turn)
    outline = outline_xy(shape.outline, degrees=degrees, aspect=rng.uniform(0.85, 1.18))
    outline = outline * size + left_top
    height, width = canvas.shape[:2]
    limit = np.array([width, height], float)
    inside = np.clip(outline, 0, limit)
    low, high = inside.min(axis=0), inside.max(axis=0)
    if np.any(high - low < 1):
        return None
    x0, y0 = (int(v) for v in np.floor(low))
    x1, y1 = (int(v) for v in np.ceil(high))
    fine = Image.new("L", ((x1 - x0) * _OVERSAMPLING, (y1 - y0) * _OVERSAMPLING))
    corners = (outline - [x0, y0]) * _OVERSAMPLING
    ImageDraw.Draw(fine).polygon([tuple(p) for p in corners.tolist()], fill=255)
    mask = np.asarray(fine.reduce(_OVERSAMPLING), np.float32) / 255
    paint = surface(shape, height=y1 - y0, width=x1 - x0, rng=rng)
    region = canvas[y0:y1, x0:x1]
    region += mask[..., None] * (paint - region)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return DrawnObject(name, box, inside, float(mask.sum()))


def _hidden_fraction(box: Sequence[float], other: Sequence[float]) -> float:
    """How much of the smaller box the intersection covers."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return width * height / min(areas)


def _object_side(short_side: int, rng: np.random.Generator) -> float:
    """Side of an object in pixels: mostly 40 to 75 % of the image, a few tiny or larger."""
    kind = rng.uniform()
    if kind < 0.04:
        fraction = rng.uniform(0.06, 0.15)
    elif kind < 0.85:
        fraction = rng.uniform(0.4, 0.75)
    else:
        fraction = rng.uniform(0.75, 0.95)
    return max(4.0, fraction * short_side)


def _draw_crowd(canvas: np.ndarray, name: str, rng: np.random.Generator) -> DrawnObject | None:
    """Draws a cluster of small objects under one crowd box."""
    height, width = canvas.shape[:2]
    side = 0.11 * min(height, width)
    span = np.array([rng.uniform(3, 5), rng.uniform(2, 4)]) * side
    corner = rng.uniform(0, 1, 2) * np.maximum(np.array([width, height]) - span - side, 1)
    drawn = []
    for _ in range(rng.integers(9, 14)):
        left_top = corner + rng.uniform(0, 1, 2) * span
        drawn.append(_draw(canvas, name, left_top=left_top, size=(side, side), rng=rng))
    boxes = np.array([o.box_xyxy for o in drawn if o])
    if not len(boxes):
        return None
    x0, y0 = (float(v) for v in boxes[:, :2].min(axis=0))
    x1, y1 = (float(v) for v in boxes[:, 2:].max(axis=0))
    polygon = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return DrawnObject(name, (x0, y0, x1, y1), polygon, (x1 - x0) * (y1 - y0), is_crowd=True)


def _image_size(nominal: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Height and width around `nominal` (short side, long side), lying or standing."""
    short, long = (round(side * rng.uniform(0.88, 1.12)) for side in nominal)
    return (short, long) if rng.uniform() < 0.6 else (long, short)


def draw_scene(
    rng: np.random.Generator, *, shapes: Sequence[str], nominal_size: tuple[int, int]
) -> Scene:
    """Draws one photograph.

    Args:
      rng: decides everything.
      shapes: keys of `SHAPES` to draw from.
      nominal_size: short and long side in pixels; the image's own vary around them.
    """
    height, width = _image_size(nominal_size, rng)
    canvas = _background(height, width, rng)
    objects: list[DrawnObject] = []
    wanted = rng.choice(len(_NUM_OBJECTS_PROBABILITIES), p=_NUM_OBJECTS_PROBABILITIES)
    if wanted and rng.uniform() < _CROWD_PROBABILITY:
        crowd = _draw_crowd(canvas, shapes[int(rng.integers(len(shapes)))], rng)
        objects += [crowd] if crowd else []
    for _ in range(wanted):
        side = _object_side(min(height, width), rng)
        for _ in range(8):
            size = side * rng.uniform(0.85, 1.18, 2)
            low = -0.12 * size
            high = np.array([width, height]) - 0.88 * size
            left_top = rng.uniform(low, np.maximum(high, low + 1))
            box = (*left_top, *(left_top + size))
            if all(_hidden_fraction(box, o.box_xyxy) <= _MAX_HIDDEN for o in objects):
                name = shapes[int(rng.integers(len(shapes)))]
                drawn = _draw(canvas, name, left_top=left_top, size=size, rng=rng)
                objects += [drawn] if drawn else []
                break
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    if rng.uniform() < _GRAYSCALE_PROBABILITY:
        image = image.convert("L")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(86, 95)))
    return Scene(buffer.getvalue(), height, width, tuple(objects))
