"""One image with its boxes, as any labelling tool describes it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pix2seq_model.errors import shown


class LabelledBox(NamedTuple):
    """An object.

    Attributes:
      label: name of its class.
      corners: x1, y1, x2, y2; empty if it has no box.
      is_crowd: a box around many objects, as `iscrowd` of COCO.
      problem: why the object cannot be used; empty if it can.
    """

    label: str
    corners: tuple[float, ...] = ()
    is_crowd: bool = False
    problem: str = ""


class LabelledImage(NamedTuple):
    """An image.

    Attributes:
      file_name: as the labels have it.
      height, width: pixels; 0 where the labels do not say it.
      boxes: its objects.
      in_fractions: corners are fractions of the sides instead of pixels.
      problem: why its labels cannot be read; empty if they can.
    """

    file_name: str
    height: int = 0
    width: int = 0
    boxes: Sequence[LabelledBox] = ()
    in_fractions: bool = False
    problem: str = ""


def bounds(points: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """Returns the corners x1, y1, x2, y2 of the box around points x, y."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def number(value: Any) -> float:
    """Returns a finite number, of text too.

    Raises:
      ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{shown(value, 40)} is not a number")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(value, 40)} is not a number") from None
    if not math.isfinite(result):
        raise ValueError(f"{shown(value, 40)} is not a number")
    return result


def pixels(value: Any) -> int:
    """Returns a side of an image; 0 if it is none, and then the image file says it."""
    try:
        side = number(value)
    except ValueError:
        return 0
    return int(side) if side >= 1 and side == int(side) else 0
