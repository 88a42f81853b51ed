"""The objects of the demonstration photographs: outlines, and the look of their surfaces.

Each shape class has an outline, a range of hues and a surface of its own, all with enough spread
that neither alone tells the classes apart in every picture.
"""

import colorsys
import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
    """A class of objects.

    Attributes:
      outline: a name that `outline_xy` knows.
      hue: of the surface, 0 to 1, the middle of its range.
      surface: a name that `surface` knows.
      max_turn: objects are turned by up to this many degrees either way.
    """

    outline: str
    hue: float
    surface: str
    max_turn: float


SHAPES = {
    "disc": Shape("disc", 0.03, "rings", 180.0),
    "square": Shape("square", 0.60, "checks", 14.0),
    "triangle": Shape("triangle", 0.34, "stripes", 16.0),
    "star": Shape("star", 0.14, "plain", 36.0),
    "cross": Shape("cross", 0.83, "stripes", 14.0),
}

_HUE_SPREAD = 0.045


# Corners, radii, turn.
_POLYGONS: dict[str, tuple[int, tuple[float, ...], float]] = {
    "disc": (32, (1.0,), 0.0),
    "square": (4, (1.0,), math.pi / 4),
    "triangle": (3, (1.0,), -math.pi / 2),
    "star": (10, (1.0, 0.42), -math.pi / 2),
}


def _polygon(num_corners: int, *, radii: tuple[float, ...], turn: float) -> np.ndarray:
    angles = 2 * math.pi * np.arange(num_corners) / num_corners + turn
    radius = np.resize(np.array(radii), num_corners)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1)


def outline_xy(outline: str, *, degrees: float, aspect: float) -> np.ndarray:
    """Returns an outline turned by `degrees`, scaled so that it just fills the unit square.

    Args:
      outline: disc, square, triangle, star or cross.
      degrees: turn, clockwise in image coordinates.
      aspect: stretch along x before turning.

    Returns:
      float64 (n, 2), x then y, each 0 to 1 with both ends reached.
    """
    if outline in _POLYGONS:
        num_corners, radii, turn = _POLYGONS[outline]
        points = _polygon(num_corners, radii=radii, turn=turn)
    else:
        arm = 0.34
        corner = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
        quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
        points = np.concatenate(
            [np.array(corner) @ np.linalg.matrix_power(quarter, k).T for k in range(4)]
        )
    angle = math.radians(degrees)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = (points * [aspect, 1.0]) @ rotation.T
    points -= points.min(axis=0)
    return points / points.max(axis=0)


def surface(shape: Shape, *, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Paints a surface in the shape's hue: pattern, light from one side, grain.

    Returns:
      float32 (height, width, 3), 0 to 255.
    """
    hue = (shape.hue + rng.uniform(-_HUE_SPREAD, _HUE_SPREAD)) % 1.0
    light = colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 0.95), rng.uniform(0.75, 1.0))
    dark = np.array(light) * rng.uniform(0.45, 0.75)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    waves = rng.uniform(1.5, 3.0)
    phase = rng.uniform(0, 2 * math.pi)
    if shape.surface == "rings":
        pattern = np.sin(2 * math.pi * waves * np.hypot(x, y) + phase)
    elif shape.surface == "checks":
        pattern = np.sin(math.pi * waves * x + phase) * np.sin(math.pi * waves * y + phase) * 2
    elif shape.surface == "stripes":
        angle = rng.uniform(0, math.pi)
        pattern = np.sin(math.pi * waves * (x * math.cos(angle) + y * math.sin(angle)) + phase)
    else:
        pattern = np.zeros((height, width), np.float32)
    mix = np.clip(0.5 + 0.8 * pattern, 0, 1)[..., None]
    colour = np.array(light) * mix + dark * (1 - mix)
    side = rng.uniform(0, 2 * math.pi)
    shading = 1 + 0.22 * (x * math.cos(side) + y * math.sin(side))
    grain = rng.normal(0, 5, (height, width, 1))
    return (255 * colour * shading[..., None] + grain).astype(np.float32)
