"""LabelMe: one JSON file for each image, with shapes."""

import math
from typing import Any

from pix2seq_model.data.formats.labelled_image import (
    LabelledBox,
    LabelledImage,
    bounds,
    number,
    pixels,
)
from pix2seq_model.errors import shown

# The corners of a rectangle may come in any order; a mask's are those of its box.
_AROUND_POINTS = {"polygon": 3, "rectangle": 2, "mask": 2, "rotation": 4}


def is_labelme(content: Any) -> bool:
    """Whether the content of a JSON file is LabelMe's."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def parse_labelme(content: dict[str, Any]) -> LabelledImage:
    """Reads one file's content: rectangles, and the boxes around polygons, circles and masks."""
    name = content.get("imagePath")
    return LabelledImage(
        file_name=name if isinstance(name, str) else "",
        height=pixels(content.get("imageHeight")),
        width=pixels(content.get("imageWidth")),
        boxes=[_box(shape) for shape in content["shapes"]],
    )


def _box(shape: Any) -> LabelledBox:
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        return LabelledBox("", problem=f"the shape is {shown(shape)}, without a label")
    label, kind = shape["label"].strip(), shape.get("shape_type") or "polygon"
    try:
        points = [(number(x), number(y)) for x, y in shape["points"]]
    except (KeyError, TypeError, ValueError):
        return LabelledBox(label, problem=f"points are {shown(shape.get('points'))}")
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return LabelledBox(label, (x - radius, y - radius, x + radius, y + radius))
    if len(points) >= _AROUND_POINTS.get(kind, math.inf):
        return LabelledBox(label, bounds(points))
    return LabelledBox(label, problem=f"a {kind} with {len(points)} points has no box")
