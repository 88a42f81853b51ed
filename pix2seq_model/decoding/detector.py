"""Images in, COCO rows out: one network with its decoding settings, used by every caller alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pix2seq_model.decoding.generate import generate
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original, coco_results


class Detector:
    """Detects the objects of batches of images."""

    def __init__(
        self,
        network: Pix2Seq,
        *,
        seed: int = 0,
        batch_size: int | None = None,
        clip_boxes: bool = True,
        **settings: Any,
    ) -> None:
        """
        Args:
          network: the model.
          seed: of the sampled tokens. What is found in an image depends neither on its place in
            the data nor on its neighbours.
          batch_size: smaller batches are filled up to it, so that nothing is compiled again.
          clip_boxes: clips boxes to the image and negative sizes to 0; else both stay, as in
            published evaluation, where boxes end at the padded image's border.
          **settings: the fields of `decoding.DecodeSettings`.

        Raises:
          ConfigError: more objects than the network has positions for.
        """
        max_objects = DecodeSettings(**settings).max_objects
        network.model_config.check_positions("max_objects", max_objects)
        self._network = network
        self._clip_boxes = clip_boxes
        self._generation = {"seed": seed, "batch_size": batch_size, **settings}

    def detect(
        self, images: np.ndarray, image_keys: np.ndarray, **images_are: Any
    ) -> list[dict[str, Any]]:
        """Objects of a batch.

        Args:
          images: (B, height, width, 3) float in [0, 1], resized and padded to the model's size.
          image_keys: (B,) int64, see `generate`.
          **images_are: the other arguments of `rows`.

        Returns:
          See `rows`.
        """
        return self.rows(self.generate(images, image_keys), **images_are)

    def generate(self, images: np.ndarray, image_keys: np.ndarray) -> dict[str, np.ndarray]:
        """The tokens of a batch, see `decoding.generate`."""
        return generate(self._network, images, image_keys=image_keys, **self._generation)

    def rows(
        self,
        found: Mapping[str, np.ndarray],
        *,
        image_ids: Sequence[int | str],
        source_size: np.ndarray,
        content_size: np.ndarray,
        category_numbers: Mapping[int, int],
    ) -> list[dict[str, Any]]:
        """What `generate` found as rows, in its order.

        Args:
          found: what `generate` returned.
          image_ids: of each image, for the rows.
          source_size: (B, 2) height and width of the originals in pixels.
          content_size: (B, 2) height and width that each takes of its padded image, in pixels.
          category_numbers: id for the rows of each of the model's category ids; objects of other
            categories are left out.

        Returns:
          COCO results: image_id, category_id, bbox xywh in pixels of the original, score.
        """
        boxes = boxes_in_original(
            boxes_from_tokens(found["tokens"], self._network.vocabulary),
            image_size=self._network.model_config.image_size,
            content_size_B2=content_size,
            clip=self._clip_boxes,
        )
        return coco_results(
            image_ids,
            boxes_BN4=boxes,
            category_ids_BN=found["category_ids"],
            scores_BN=found["scores"],
            source_size_B2=source_size,
            category_numbers=category_numbers,
            clip=self._clip_boxes,
        )
