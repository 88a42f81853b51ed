"""What the web page asks of a model: the objects of one image, and where it looked for each."""

import base64
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.argument_names import argument_name
from pix2seq_model.decoding.attention import cross_attention_maps
from pix2seq_model.errors import ConfigError
from pix2seq_model.input_pipeline.image_file import PreparedImage
from pix2seq_model.model_folder.thresholds import DEFAULT_SCORE
from pix2seq_model.prediction.image_detector import ImageDetector
from pix2seq_model.prediction.served_detector import ServedDetector
from pix2seq_model.reports.drawing import class_color
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT
from pix2seq_model.web_demo.kinds import require_shown_kind


class AttentiveModel:
    """A model folder.

    Attributes:
      name: what to call it; holds no path.
      classes: `name` and `color` (#rrggbb) of each, by the annotation file's ids.
      threshold: score from which the page shows objects at first.
    """

    has_attention = True

    def __init__(
        self, model_dir: epath.PathLike, *, threshold: float = DEFAULT_SCORE, **decoding: Any
    ) -> None:
        """
        Args:
          model_dir: model folder.
          threshold: what the attribute says.
          **decoding: see `ImageDetector`.
        """
        self.threshold = threshold
        self._model = ImageDetector(model_dir, batch_size=1, **decoding)
        self.name = _shown_name(self._model.info.source) or "model"
        self.classes = _classes(self._model.category_names)

    def explain(self, encoded: bytes, *, max_pixels: int) -> dict[str, Any]:
        """Detects the objects of an image file.

        Args:
          encoded: the file.
          max_pixels: larger images are refused.

        Returns:
          width, height, is_turned (see `PreparedImage`); picture, what to show if the file is not
          what the model saw, as an address, or None; detections, each with category_id,
          category, color (#rrggbb), bbox [x, y, width, height] in pixels, score, and attention:
          base64 of uint8 (5, rows, columns), for its tokens ymin, xmin, ymax, xmax, class, each
          map as a part of its greatest value; and attention: rows, columns, and stretch, the
          height and width of the map as multiples of the image's, which it begins at the upper
          left corner of. Most likely objects first; those without area are left out.

        Raises:
          ImageDefect: it cannot be decoded or is too large.
        """
        model = self._model
        image = model.prepare(encoded, max_pixels=max_pixels)
        # Many may wait for the model here.
        image = dataclasses.replace(image, pixels=np.empty((0, 0, 3), np.uint8))
        with model.lock:
            found = model.detector.generate(image.image[None], np.array([image.key]))
            maps = self._maps(image, found["tokens"])
        rows = model.detector.rows(
            found,
            image_ids=[0],
            source_size=np.array([[image.height, image.width]]),
            content_size=image.content_size[None],
            category_numbers=model.category_numbers,
        )
        # The rows are the slots with a class of the data set, in their order.
        slots = np.flatnonzero(np.isin(found["category_ids"][0], list(model.category_numbers)))
        for row, slot in zip(rows, slots, strict=True):
            row["attention"] = base64.b64encode(maps[slot].tobytes()).decode("ascii")
        stretch = np.array(model.image_size) / image.content_size
        attention = {"rows": maps.shape[2], "columns": maps.shape[3], "stretch": stretch.tolist()}
        return _answer(image, rows, names=model.category_names, attention=attention)

    def _maps(self, image: PreparedImage, tokens_1L: np.ndarray) -> np.ndarray:
        """uint8 (objects, 5, rows, columns) for as many objects as there are tokens of."""
        num_tokens = int(np.count_nonzero(tokens_1L))  # 0 is what follows the last one.
        num_objects = max(1, -(-num_tokens // TOKENS_PER_OBJECT))
        maps_LYX = cross_attention_maps(
            self._model.network, image.image[None], tokens_1L[:, : num_objects * TOKENS_PER_OBJECT]
        )[0]
        most_L11 = np.maximum(maps_LYX.max(axis=(1, 2), keepdims=True), 1e-12)
        scaled = np.round(255 * maps_LYX / most_L11).astype(np.uint8)
        return scaled.reshape(num_objects, TOKENS_PER_OBJECT, *maps_LYX.shape[1:])


class ServedModel:
    """A pushed SavedModel without its model folder; it returns no attention."""

    has_attention = False

    def __init__(self, version_dir: epath.PathLike, *, threshold: float = DEFAULT_SCORE) -> None:
        """
        Args:
          version_dir: see `ServedDetector`.
          threshold: see `AttentiveModel`.
        """
        self.threshold = threshold
        place = epath.Path(version_dir)
        self.name = f"{place.parent.name}, version {place.name}"
        self._model = ServedDetector(version_dir)
        self.classes = _classes(self._model.category_names)

    def explain(self, encoded: bytes, *, max_pixels: int) -> dict[str, Any]:
        """As `AttentiveModel.explain`; both kinds of attention are None."""
        image = self._model.prepare(encoded, max_pixels=max_pixels)
        (rows,) = self._model.detect([image])
        rows = [{**row, "attention": None} for row in rows]
        return _answer(image, rows, names=self._model.category_names, attention=None)


def open_demo_model(
    kind: str, place: str, *, threshold: float = DEFAULT_SCORE, **decoding: Any
) -> AttentiveModel | ServedModel:
    """What the page asks.

    Args:
      kind: of the model, as `api.find_model` says; that looks at whether it is trusted, too.
      place: of it, from there as well.
      threshold: score from which the page shows objects at first.
      **decoding: of a model folder, see `ImageDetector`.

    Raises:
      ModelError: it cannot be used.
      ConfigError: a kind that the page does not show, or settings that this kind has built in.
    """
    require_shown_kind(kind, place)
    if kind == "model folder":
        return AttentiveModel(place, threshold=threshold, **decoding)
    if decoding:
        raise ConfigError(
            f"{place} is a SavedModel, whose settings are fixed: leave out "
            f"{', '.join(map(argument_name, decoding))}, or give its model folder"
        )
    return ServedModel(place, threshold=threshold)


def _shown_name(source: str) -> str:
    """Where a model comes from, without the folders of this machine."""
    return re.sub(r"\S*/(?=[^/\s]+/[^/\s]+)", "", source)


def _classes(names: dict[int, str]) -> list[dict[str, Any]]:
    return [{"name": name, "color": _color(number)} for number, name in sorted(names.items())]


def _color(category_id: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*class_color(category_id))


def _answer(
    image: PreparedImage,
    rows: Sequence[dict[str, Any]],
    *,
    names: dict[int, str],
    attention: dict[str, Any] | None,
) -> dict[str, Any]:
    detections = [
        {
            "category_id": row["category_id"],
            "category": names[row["category_id"]],
            "color": _color(row["category_id"]),
            "bbox": [float(value) for value in row["bbox"]],
            "score": row["score"],
            "attention": row["attention"],
        }
        for row in sorted(rows, key=lambda row: -row["score"])
        if row["bbox"][2] > 0 and row["bbox"][3] > 0
    ]
    picture = None
    if image.plain is not None:
        kind = "jpeg" if image.plain.startswith(b"\xff\xd8") else "png"
        picture = f"data:image/{kind};base64,{base64.b64encode(image.plain).decode('ascii')}"
    return {
        "picture": picture,
        "width": image.width,
        "height": image.height,
        "is_turned": image.is_turned,
        "detections": detections,
        "attention": attention,
    }
