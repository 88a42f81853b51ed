"""Where the decoder looks, shown on the photograph (as in the figures of arXiv:2109.10852).

Two figures of an image: for each of the first objects found, the attention of the five steps that
predict its tokens; and for boxes that are given, the attention of the step that reads their class.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from pix2seq_model.boxes import box_xywh_to_yxyx
from pix2seq_model.decoding.attention import cross_attention_maps, likeliest_classes
from pix2seq_model.decoding.generate import generate
from pix2seq_model.input_pipeline.image_file import PreparedImage
from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.reports import drawing
from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT

TOKEN_NAMES = ("ymin", "xmin", "ymax", "xmax", "class")

_COLORS = colormaps["inferno"]
_CELL = 180  # pixels of a picture's longer side
_PHOTOGRAPH_SHARE = 0.6  # of the light that an unattended place keeps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention:
    """One picture of attention.

    Attributes:
      picture: the photograph, brighter and coloured where the decoder looks, with a box on it.
      token: which token is predicted.
    """

    picture: Image.Image
    token: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectAttention:
    """The pictures of one object: of its five tokens, or of its class alone.

    Attributes:
      name: of the class that the network reads, for people.
      score: its probability.
      pictures: in the order of the tokens.
    """

    name: str
    score: float
    pictures: tuple[Attention, ...]


class AttentionReader:
    """Draws the attention of one network."""

    def __init__(
        self,
        network: Pix2Seq,
        *,
        names: Mapping[int, str],
        seed: int = 0,
        batch_size: int | None = None,
        **decoding: Any,
    ) -> None:
        """
        Args:
          network: the model.
          names: of the classes, by the model's class ids.
          seed: of the sampled tokens.
          batch_size: of the detector, whose compiled decoding is used.
          **decoding: the fields of `decoding.DecodeSettings`.
        """
        self._network, self._names = network, names
        self._generate = {"seed": seed, "batch_size": batch_size, **decoding}

    def of_found(
        self,
        image: PreparedImage,
        *,
        score_threshold: float = 0.0,
        num_objects: int = 5,
        cell: int = _CELL,
    ) -> list[ObjectAttention]:
        """The first objects of the generated sequence, five pictures each.

        Args:
          image: the photograph, its pixels kept.
          score_threshold: objects of a lower score are passed over.
          num_objects: at most so many.
          cell: longer side of a picture in pixels.
        """
        inputs_1HW3 = image.image[None]
        found = generate(self._network, inputs_1HW3, **self._generate)
        is_shown_N = (found["class_ids"][0] > 0) & (found["scores"][0] >= score_threshold)
        shown = np.flatnonzero(is_shown_N)[:num_objects]
        if not len(shown):
            return []
        tokens_1L = found["tokens"][:, : TOKENS_PER_OBJECT * (shown[-1] + 1)]
        maps_L = cross_attention_maps(self._network, inputs_1HW3, tokens_1L)[0]
        boxes_N4 = boxes_in_original(
            boxes_from_tokens(tokens_1L, self._network.vocabulary),
            image_size=image.image.shape[:2],
            content_size_B2=np.asarray(image.content_size)[None],
        )[0]
        return [
            self._object(
                found["class_ids"][0, index],
                found["scores"][0, index],
                [
                    Attention(
                        picture=_lit(
                            image,
                            maps_L[TOKENS_PER_OBJECT * index + place],
                            boxes_N4[index],
                            cell=cell,
                        ),
                        token=token,
                    )
                    for place, token in enumerate(TOKEN_NAMES)
                ],
            )
            for index in shown
        ]

    def of_given(
        self,
        image: PreparedImage,
        boxes_xywh: Sequence[Sequence[float]],
        *,
        cell: int = _CELL,
    ) -> list[ObjectAttention]:
        """One picture for each given box: where its class is read.

        Each box stands alone in its sequence, and its class is not given.

        Args:
          image: the photograph, its pixels kept.
          boxes_xywh: in its pixels.
          cell: see `of_found`.
        """
        if not len(boxes_xywh):
            return []
        size_4 = np.array([image.height, image.width] * 2, np.float32)
        boxes_N4 = box_xywh_to_yxyx(np.asarray(boxes_xywh, np.float32)) / size_4
        share_2 = np.asarray(image.content_size) / image.image.shape[:2]
        coordinates_N4 = self._network.vocabulary.quantize(boxes_N4 * np.tile(share_2, 2))
        # The last token is predicted: what stands in its place is never looked at.
        tokens_N5 = np.pad(coordinates_N4, [(0, 0), (0, 1)]).astype(np.int32)
        inputs_NHW3 = np.repeat(image.image[None], len(tokens_N5), axis=0)
        maps_N = cross_attention_maps(self._network, inputs_NHW3, tokens_N5)[:, -1]
        class_ids_N, scores_N = likeliest_classes(self._network, inputs_NHW3, tokens_N5)
        return [
            self._object(
                class_id,
                score,
                [Attention(picture=_lit(image, one_map, box, cell=cell), token="class")],
            )
            for class_id, score, one_map, box in zip(class_ids_N, scores_N, maps_N, boxes_N4)
        ]

    def _object(
        self, class_id: int, score: float, pictures: Sequence[Attention]
    ) -> ObjectAttention:
        name = self._names.get(int(class_id), f"class {int(class_id)}").strip()
        return ObjectAttention(name=name, score=float(score), pictures=tuple(pictures))


# What makes the pictures of an image: given the encoded file, boxes xywh in its pixels, and the
# least score of what is found.
AttentionFigures = Callable[
    [bytes, Sequence[Sequence[float]], float], tuple[list[ObjectAttention], list[ObjectAttention]]
]


def attention_sheet(found: Sequence[ObjectAttention]) -> Image.Image | None:
    """All pictures on one sheet, a row for each object; None where there is none."""
    parts = [(row, part) for row in found for part in row.pictures]
    if not parts:
        return None
    return drawing.contact_sheet(
        [part.picture for _, part in parts],
        captions=[f"{row.name} {row.score:.2f}: {part.token}" for row, part in parts],
        columns=TOKENS_PER_OBJECT,
        cell=max(max(part.picture.size) for _, part in parts),
    )


def _lit(
    image: PreparedImage, attention_HW: np.ndarray, box_yxyx: np.ndarray, *, cell: int
) -> Image.Image:
    """The photograph under the colours of its attention, with a box (in [0, 1])."""
    photograph = Image.fromarray(image.pixels)
    scale = cell / max(photograph.size)
    size = tuple(max(1, round(side * scale)) for side in photograph.size)
    light_HW1 = _stretched(attention_HW, image, size)[..., None]
    grey = photograph.resize(size, Image.Resampling.LANCZOS).convert("L")
    dark_HW1 = np.asarray(grey, np.float32)[..., None] * _PHOTOGRAPH_SHARE
    colors_HW3 = 255 * _COLORS(light_HW1[..., 0])[..., :3]
    mixed_HW3 = dark_HW1 * (1 - light_HW1) + (colors_HW3 + dark_HW1) * light_HW1
    picture = Image.fromarray(np.clip(mixed_HW3, 0, 255).astype(np.uint8))
    ymin, xmin, ymax, xmax = (float(edge) for edge in box_yxyx)
    box = (xmin * size[0], ymin * size[1], (xmax - xmin) * size[0], (ymax - ymin) * size[1])
    return drawing.draw_boxes(picture, [drawing.LabelledBox(box, "", (255, 255, 255))])


def _stretched(attention_HW: np.ndarray, image: PreparedImage, size: tuple[int, int]) -> np.ndarray:
    """The map at `size` (width, height), in [0, 1], its greatest value being 1.

    The map covers the padded image; the photograph is its upper left part.
    """
    rows, columns = attention_HW.shape
    height, width = image.image.shape[:2]
    part = (columns * image.content_size[1] / width, rows * image.content_size[0] / height)
    whole = Image.fromarray(np.ascontiguousarray(attention_HW, dtype=np.float32))
    stretched = whole.resize(size, Image.Resampling.BICUBIC, box=(0.0, 0.0, *map(float, part)))
    light_HW = np.clip(np.asarray(stretched), 0, None)
    return light_HW / max(float(light_HW.max()), 1e-9)
