"""Attention of one image: to the objects that are found, and to boxes that are given.

As in the figures of arXiv:2109.10852: for each of the first objects found, the attention of the
five steps that predict its tokens; for a given box, that of the step that reads its class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pix2seq_model.boxes import box_xywh_to_yxyx
from pix2seq_model.decoding.attention import cross_attention_maps, likeliest_categories
from pix2seq_model.decoding.attention_maps import ImageAttention, ObjectAttention
from pix2seq_model.decoding.generate import generate
from pix2seq_model.input_pipeline.image_file import PreparedImage
from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT


class AttentionReader:
    """Reads the attention of one network."""

    def __init__(self, network: Pix2Seq, *, names: Mapping[int, str], **generation: Any) -> None:
        """
        Args:
          network: the model.
          names: of the classes, by the model's class ids.
          **generation: arguments of `generate`; with the batch size of a detector its compiled
            decoding is used.
        """
        self._network, self._names, self._generation = network, names, generation

    def read(
        self,
        image: PreparedImage,
        *,
        image_id: int,
        score_threshold: float = 0.0,
        num_objects: int = 5,
        boxes_xywh: Sequence[Sequence[float]] = (),
    ) -> ImageAttention:
        """The attention of an image.

        Args:
          image: the photograph.
          image_id: for the result.
          score_threshold: found objects of a lower score are skipped.
          num_objects: at most so many of the found ones.
          boxes_xywh: boxes in pixels of the photograph, for `given`.
        """
        height, width = image.image.shape[:2]
        return ImageAttention(
            image_id=image_id,
            image_size=(height, width),
            content_size=(int(image.content_size[0]), int(image.content_size[1])),
            found=self._found(image, score_threshold, num_objects),
            given=self._given(image, boxes_xywh),
        )

    def _found(
        self, image: PreparedImage, score_threshold: float, num_objects: int
    ) -> tuple[ObjectAttention, ...]:
        """The first objects of the generated sequence, five maps each."""
        inputs_1HW3 = image.image[None]
        found = generate(self._network, inputs_1HW3, image_keys=[image.key], **self._generation)
        is_shown_N = (found["category_ids"][0] > 0) & (found["scores"][0] >= score_threshold)
        shown = np.flatnonzero(is_shown_N)[:num_objects]
        if not len(shown):
            return ()
        tokens_1L = found["tokens"][:, : TOKENS_PER_OBJECT * (shown[-1] + 1)]
        maps_LYX = cross_attention_maps(self._network, inputs_1HW3, tokens_1L)[0]
        maps_N5YX = maps_LYX.reshape(-1, TOKENS_PER_OBJECT, *maps_LYX.shape[1:])
        boxes_N4 = boxes_in_original(
            boxes_from_tokens(tokens_1L, self._network.vocabulary),
            image_size=image.image.shape[:2],
            content_size_B2=np.asarray(image.content_size)[None],
        )[0]
        category_ids_N, scores_N = found["category_ids"][0], found["scores"][0]
        parts = (part[shown] for part in (category_ids_N, scores_N, boxes_N4, maps_N5YX))
        return tuple(map(self._object, *parts))

    def _given(
        self, image: PreparedImage, boxes_xywh: Sequence[Sequence[float]]
    ) -> tuple[ObjectAttention, ...]:
        """Each given box alone in its sequence, without its class: where that is read."""
        if not len(boxes_xywh):
            return ()
        size_4 = np.array([image.height, image.width] * 2, np.float32)
        boxes_N4 = box_xywh_to_yxyx(np.asarray(boxes_xywh, np.float32)) / size_4
        share_2 = np.asarray(image.content_size) / image.image.shape[:2]
        coordinates_N4 = self._network.vocabulary.quantize(boxes_N4 * np.tile(share_2, 2))
        # The last token is predicted: what stands in its place is never looked at.
        tokens_N5 = np.pad(coordinates_N4, [(0, 0), (0, 1)]).astype(np.int32)
        inputs_NHW3 = np.repeat(image.image[None], len(tokens_N5), axis=0)
        maps_N1YX = cross_attention_maps(self._network, inputs_NHW3, tokens_N5)[:, -1:]
        category_ids_N, scores_N = likeliest_categories(self._network, inputs_NHW3, tokens_N5)
        return tuple(map(self._object, category_ids_N, scores_N, boxes_N4, maps_N1YX))

    def _object(
        self, category_id: int, score: float, box_yxyx: np.ndarray, maps: np.ndarray
    ) -> ObjectAttention:
        ymin, xmin, ymax, xmax = (float(edge) for edge in box_yxyx)
        return ObjectAttention(
            name=self._names.get(int(category_id), f"class {int(category_id)}").strip(),
            score=float(score),
            box_yxyx=(ymin, xmin, ymax, xmax),
            maps=np.asarray(maps, np.float32),
        )
