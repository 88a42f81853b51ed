"""A SavedModel of this project as a detector, without its model folder."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from etils import epath

from pix2seq_model.boxes import box_yxyx_to_xywh
from pix2seq_model.data.categories import category_numbers
from pix2seq_model.data.image_check import pixels_held
from pix2seq_model.errors import ModelError
from pix2seq_model.input_pipeline.image_file import (
    BYTES_PER_PIXEL,
    PreparedImage,
    prepare_image,
    prepare_pixels,
)
from pix2seq_model.json_file import read_json
from pix2seq_model.model_folder.saved_model import CATEGORIES_FILE, SERVED_IMAGES

# The graph prepares images itself, from their pixels.
_ANY_SIZE = (64, 64)
_OUTPUTS = {
    *("detection_boxes", "detection_classes", "detection_class_names"),
    *("detection_scores", "num_detections"),
}


class ServedDetector:
    """Detects the objects of images with the settings that the SavedModel was exported with.

    Attributes:
      batch_size: 1: images of different sizes go through its graph one by one.
      category_names: names by category id.
    """

    batch_size = 1
    needs_pixels = True

    def __init__(self, folder: str | os.PathLike) -> None:
        """
        Args:
          folder: of the SavedModel, local or gs://. Its graph is executed: it must be trusted.

        Raises:
          ModelError: it cannot be loaded, or is none that `export_saved_model` wrote.
        """
        try:
            # It lives as long as its signatures are used.
            self._loaded = tf.saved_model.load(os.fspath(epath.Path(folder)))
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"{folder} cannot be loaded as a SavedModel: {error}") from None
        signature = self._loaded.signatures.get(SERVED_IMAGES)
        if signature is None or not set(signature.structured_outputs) >= _OUTPUTS:
            raise ModelError(
                f"{folder} is a SavedModel, but no detector that this project exported: it has no "
                f"signature {SERVED_IMAGES} that returns {', '.join(sorted(_OUTPUTS))}."
            )
        self._detect = signature
        self.category_names = _category_names(epath.Path(folder))

    def prepare(self, encoded: bytes, **limits: Any) -> PreparedImage:
        """An image file; see `prepare_image` for errors and limits."""
        return prepare_image(encoded, image_size=_ANY_SIZE, **limits)

    def prepare_pixels(self, pixels: np.ndarray, *, keep_pixels: bool = True) -> PreparedImage:
        """A decoded image: uint8 (height, width, 3), RGB."""
        return prepare_pixels(pixels, image_size=_ANY_SIZE, keep_pixels=keep_pixels)

    def detect(
        self, images: Sequence[PreparedImage], *, alone: bool = False
    ) -> list[list[dict[str, Any]]]:
        """For each image its rows, the most likely first; see `ImageDetector.detect`."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: PreparedImage) -> list[dict[str, Any]]:
        # The graph resizes the image itself.
        with pixels_held(image.height * image.width * BYTES_PER_PIXEL):
            answer = self._detect(images=tf.constant(image.pixels[None]))
        found = {name: value.numpy()[0] for name, value in answer.items()}
        num = found["num_detections"]
        scale = [image.height, image.width, image.height, image.width]
        boxes = box_yxyx_to_xywh(found["detection_boxes"][:num].astype(float) * scale)
        classes = found["detection_classes"][:num].tolist()
        names = (name.decode() for name in found["detection_class_names"][:num])
        self.category_names |= dict(zip(classes, names))  # The file may be missing.
        scores = found["detection_scores"][:num].tolist()
        return [
            {"category_id": category_id, "bbox": box, "score": score}
            for category_id, box, score in zip(classes, boxes.tolist(), scores)
        ]


def _category_names(folder: epath.Path) -> dict[int, str]:
    path = folder / "assets.extra" / CATEGORIES_FILE
    if not path.exists():
        return {}
    try:
        categories = read_json(path, fix="export the model again", error=ModelError, kind=list)
        numbers = category_numbers(categories)
        return {numbers[row["id"]]: str(row["name"]) for row in categories}
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error!r}): export the model again.") from None
