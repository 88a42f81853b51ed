"""A model folder that takes images in any number and says what is in each of them."""

import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from pix2seq_model.data.categories import category_numbers
from pix2seq_model.decoding.detector import Detector
from pix2seq_model.input_pipeline.image_file import (
    PreparedImage,
    prepare_image,
    prepare_pixels,
)
from pix2seq_model.model_folder.folder import load_model_folder


class ImageDetector:
    """Detects the objects of prepared images; its methods may be called from several threads.

    Attributes:
      network: the Keras model.
      info: its description from the model folder.
      detector: what it decodes with.
      decoding: its settings: fields of `DecodeSettings`, and seed.
      resize: how images are prepared for it.
      category_numbers: category ids of the annotation file by those of the model's tokens.
      category_names: names by the annotation file's category ids.
    """

    needs_pixels = False

    def __init__(
        self,
        model_dir: epath.PathLike,
        *,
        batch_size: int,
        precision: str = "float32",
        resize: str = "",
        clip_boxes: bool = True,
        **decoding: Any,
    ) -> None:
        """
        Args:
          model_dir: model folder.
          batch_size: images decoded together; fewer are filled up to it.
          precision: of the network, "float32" or "bfloat16".
          resize: one of `input_pipeline.settings.RESIZES`; empty: the model folder's.
          clip_boxes: see `Detector`.
          **decoding: other settings than the model folder's, see `Detector`.

        Raises:
          ModelError: the model folder cannot be used.
          ConfigError: more objects than the network has positions for.
        """
        self.network, self.info = load_model_folder(str(model_dir), precision=precision)
        self.resize = resize or self.info.resize
        self.category_numbers = category_numbers(self.info.categories)
        self.category_names = {
            self.category_numbers[category_id]: name
            for category_id, name in self.info.category_names.items()
        }
        self.batch_size = batch_size
        self.decoding = self.info.decoding_with(decoding)
        settings = {"clip_boxes": clip_boxes, **self.decoding}
        self.detector = Detector(self.network, batch_size=batch_size, **settings)
        self._single = functools.cache(lambda: Detector(self.network, batch_size=1, **settings))
        # Two batches at once would take twice the memory and no less time.
        self.lock = threading.Lock()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the network's input."""
        return self.info.model.image_size

    def prepare(self, encoded: bytes, **options: Any) -> PreparedImage:
        """An image file as this model takes it; see `prepare_image` for errors and options."""
        return prepare_image(encoded, image_size=self.image_size, resize=self.resize, **options)

    def prepare_pixels(self, pixels: np.ndarray, *, keep_pixels: bool = True) -> PreparedImage:
        """A decoded image as this model takes it: uint8 (height, width, 3), RGB."""
        return prepare_pixels(
            pixels, image_size=self.image_size, resize=self.resize, keep_pixels=keep_pixels
        )

    def detect(
        self, images: Sequence[PreparedImage], *, alone: bool = False
    ) -> list[list[dict[str, Any]]]:
        """Objects of up to `batch_size` images.

        Args:
          images: prepared by this detector.
          alone: no others will come: a single image is not filled up to `batch_size`, which
            compiles the model once more and then is faster each time.

        Returns:
          For each image its rows: category_id, bbox [x, y, width, height] in pixels of the
          original, score; in the order in which the model names them.
        """
        detector = self._single() if alone and len(images) == 1 else self.detector
        with self.lock:
            rows = detector.detect(
                np.stack([image.image for image in images]),
                np.array([image.key for image in images]),
                image_ids=range(len(images)),
                source_size=np.array([(image.height, image.width) for image in images]),
                content_size=np.stack([image.content_size for image in images]),
                category_numbers=self.category_numbers,
            )
        found: list[list[dict[str, Any]]] = [[] for _ in images]
        for row in rows:
            found[row.pop("image_id")].append(row)
        return found
