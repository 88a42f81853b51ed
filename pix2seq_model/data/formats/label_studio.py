"""Label Studio: a JSON list of tasks, in the full form or JSON-MIN. Numbers are per cent."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pix2seq_model.data.formats.labelled_image import (
    LabelledBox,
    LabelledImage,
    bounds,
    number,
    pixels,
)
from pix2seq_model.errors import shown

_RECTANGLE = ("x", "y", "width", "height")
_OTHER_THINGS = (
    *("choices", "rating", "textarea", "relation", "taxonomy"),
    *("number", "datetime", "pairwise", "ranker"),
)


def is_task(row: Any) -> bool:
    """Whether a row of a JSON list is a task of Label Studio."""
    if not isinstance(row, dict):
        return False
    is_full = isinstance(row.get("data"), dict) and ("annotations" in row or "completions" in row)
    return is_full or bool(_short_results(row))


def parse_task(task: dict[str, Any]) -> LabelledImage | None:
    """Reads one task; None if nobody has labelled its image yet.

    A task without any box that a person submitted is an image without objects.
    """
    if isinstance(task.get("data"), dict):
        name = _image_of(task["data"])
        done = [a for a in _annotations(task) if not a.get("was_cancelled")]
        if chosen := [a for a in done if a.get("ground_truth")]:
            done = chosen
        if not done:
            return None
        if len(done) > 1:
            problem = (
                f"{len(done)} annotations of one image: mark one as ground truth in Label Studio, "
                "or delete the others"
            )
            return LabelledImage(name, problem=problem)
        results = done[0].get("result") or []
    else:
        name, results = _image_of(task), _short_results(task)
    results = [result for result in results if isinstance(result, dict)]
    labelled = {r.get("id") for r in results if _labels(r.get("value", r))}
    size: dict[str, Any] = next((r for r in results if r.get("original_width")), {})
    boxes = [
        _box(result, result.get("value", result))
        for result in results
        if result.get("type") not in _OTHER_THINGS
        # `<Rectangle>` with `<Labels>` gives two results of one id, the labels' has the place too.
        and (_labels(result.get("value", result)) or result.get("id") not in labelled)
    ]
    return LabelledImage(
        file_name=name,
        height=pixels(size.get("original_height")),
        width=pixels(size.get("original_width")),
        boxes=boxes,
        in_fractions=True,
    )


def _annotations(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = task.get("annotations") or task.get("completions") or []
    return [row for row in rows if isinstance(row, dict)]


def _short_results(row: Mapping[str, Any]) -> list[Any]:
    """The results in JSON-MIN, whose key is the name of the tag in the labelling interface."""
    for value in row.values():
        is_list = isinstance(value, list) and value and isinstance(value[0], dict)
        if is_list and ("original_width" in value[0] or _labels(value[0])):
            return value
    return []


def _image_of(data: Mapping[str, Any]) -> str:
    """The path or URL of a task's image: under `image`, or the only text that looks like one."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    return texts.get("image") or next((t for t in texts.values() if "/" in t or "." in t), "")


def _labels(value: Any) -> list[str]:
    for key, labels in value.items() if isinstance(value, dict) else ():
        if key.endswith("labels") and isinstance(labels, list):
            return [label for label in labels if isinstance(label, str)]
    return []


def _box(result: Mapping[str, Any], value: Any) -> LabelledBox:
    if not isinstance(value, dict):
        return LabelledBox("", problem=f"value is {shown(value)}")
    labels = _labels(value)
    if len(labels) != 1:
        return LabelledBox("", problem=f"result {result.get('id', '')} has {len(labels)} labels")
    label = labels[0].strip()
    if turned := result.get("image_rotation"):
        what = f"image_rotation is {turned}: turn the file itself, and label it again"
        return LabelledBox(label, problem=what)
    try:
        return LabelledBox(label, _corners(result, value))
    except (KeyError, TypeError, ValueError) as error:
        kind = result.get("type", "it")
        return LabelledBox(label, problem=f"{kind} has no box: {error}")


def _corners(result: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[float, ...]:
    """x1, y1, x2, y2 as fractions of the sides, of a turned rectangle those around it."""
    if points := value.get("points"):
        return bounds([(number(x) / 100, number(y) / 100) for x, y in points])
    if "radiusX" in value:
        x, y, across, down = (number(value[key]) / 100 for key in ("x", "y", "radiusX", "radiusY"))
        return x - across, y - down, x + across, y + down
    x, y, width, height = (number(value[key]) / 100 for key in _RECTANGLE)
    angle = math.radians(number(value.get("rotation") or 0))
    if not angle:
        return x, y, x + width, y + height
    # It turns around its first corner, in pixels: the image's sides differ.
    sides = number(result["original_width"]), number(result["original_height"])
    return bounds([_turned(x, y, dx, dy, angle, sides) for dx in (0, width) for dy in (0, height)])


def _turned(
    x: float, y: float, dx: float, dy: float, angle: float, sides: Sequence[float]
) -> tuple[float, float]:
    across, down = dx * sides[0], dy * sides[1]
    turned_x = across * math.cos(angle) - down * math.sin(angle)
    turned_y = across * math.sin(angle) + down * math.cos(angle)
    return x + turned_x / sides[0], y + turned_y / sides[1]
