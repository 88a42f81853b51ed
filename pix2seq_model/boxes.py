"""Boxes: area, validity, clipping, flips, changes of frame and of format.

Every function is pure and takes boxes of shape (..., 4), any leading axes, with the format in its
name: `yxyx` is (ymin, xmin, ymax, xmax), `xyxy` is (xmin, ymin, xmax, ymax), `xywh`, as in COCO's
files, is (xmin, ymin, width, height).
`xp` is the array module that does the arithmetic: `numpy`, `keras.ops` or `tensorflow`.
"""

from typing import Any

import numpy as np


def box_yxyx_area(boxes: Any) -> Any:
    """Height times width, shape (...); negative where one of them is."""
    ymin, xmin, ymax, xmax = _split(boxes)
    return (ymax - ymin) * (xmax - xmin)


def box_yxyx_is_valid(boxes: Any, *, xp: Any = np) -> Any:
    """Whether height and width are positive, bool of shape (...)."""
    ymin, xmin, ymax, xmax = _split(boxes)
    return xp.logical_and(ymax > ymin, xmax > xmin)


def box_yxyx_to_xywh(boxes: Any, *, xp: Any = np) -> Any:
    """COCO's format of boxes in the same units."""
    ymin, xmin, ymax, xmax = _split(boxes)
    return xp.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)


def box_xywh_to_yxyx(boxes: Any, *, xp: Any = np) -> Any:
    """The edges, in the same units, of boxes in COCO's format."""
    x, y, width, height = _split(boxes)
    return xp.stack([y, x, y + height, x + width], axis=-1)


def box_xyxy_to_xywh(boxes: Any, *, xp: Any = np) -> Any:
    """COCO's format of boxes of (xmin, ymin, xmax, ymax) in the same units."""
    xmin, ymin, xmax, ymax = _split(boxes)
    return xp.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)


def clip_box_yxyx(boxes: Any, *, xp: Any = np) -> Any:
    """Normalised boxes cut off at the image's border."""
    return xp.minimum(xp.maximum(boxes, 0.0), 1.0)


def flip_box_yxyx_left_right(boxes: Any, *, xp: Any = np) -> Any:
    """Normalised boxes in the image mirrored left to right."""
    ymin, xmin, ymax, xmax = _split(boxes)
    return xp.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)


def flip_box_yxyx_up_down(boxes: Any, *, xp: Any = np) -> Any:
    """Normalised boxes in the image mirrored top to bottom."""
    ymin, xmin, ymax, xmax = _split(boxes)
    return xp.stack([1.0 - ymax, xmin, 1.0 - ymin, xmax], axis=-1)


def turn_box_yxyx(boxes: Any, turns: int, *, xp: Any = np) -> Any:
    """Normalised boxes in the image turned by `turns` times 90 degrees counter-clockwise."""
    for _ in range(turns % 4):
        ymin, xmin, ymax, xmax = _split(boxes)
        boxes = xp.stack([1.0 - xmax, ymin, 1.0 - xmin, ymax], axis=-1)
    return boxes


def scale_box_yxyx(boxes: Any, scale: Any, *, xp: Any = np) -> Any:
    """Multiplies the y's and the x's by their own factor.

    Args:
      boxes: (..., 4).
      scale: (..., 2), vertical and horizontal; its leading axes broadcast with the boxes'.
      xp: array module.
    """
    return boxes * _twice(scale, xp)


def move_box_yxyx_to_window(boxes: Any, *, offset: Any, size: Any, xp: Any = np) -> Any:
    """Expresses boxes relative to a window of their frame, not clipped.

    Args:
      boxes: (..., 4).
      offset: (..., 2), the window's top and left edge in the boxes' units.
      size: (..., 2), the window's height and width in the boxes' units.
      xp: array module.

    Returns:
      (..., 4): boxes in units in which the window reaches from 0 to 1.
    """
    return (boxes - _twice(offset, xp)) / _twice(size, xp)


def _twice(pair: Any, xp: Any) -> Any:
    y, x = pair[..., 0], pair[..., 1]
    return xp.stack([y, x, y, x], axis=-1)


def _split(boxes: Any) -> tuple[Any, Any, Any, Any]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]
