"""From tokens to boxes in the original image, and to rows of COCO's result format.

Boxes are [ymin, xmin, ymax, xmax] throughout; only COCO rows are [x, y, width, height].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pix2seq_model.boxes import box_yxyx_to_xywh
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT, Vocabulary


def boxes_from_tokens(tokens_BL: Any, vocabulary: Vocabulary, *, xp: Any = np) -> Any:
    """Coordinate tokens to boxes.

    Args:
      tokens_BL: (B, 5 * N) int; ymin, xmin, ymax, xmax, class of each object. A token that is no
        coordinate reads as the nearest one.
      vocabulary: the token ids.
      xp: array module: numpy, keras.ops or tensorflow.experimental.numpy.

    Returns:
      (B, N, 4) float32 yxyx in [0, 1] of the model's padded input.
    """
    length = tokens_BL.shape[-1]
    tokens_BN5 = xp.reshape(tokens_BL, (-1, length // TOKENS_PER_OBJECT, TOKENS_PER_OBJECT))
    return vocabulary.dequantize(tokens_BN5[..., :4], xp=xp)


def boxes_in_original(
    boxes_BN4: Any,
    *,
    image_size: tuple[int, int],
    content_size_B2: Any,
    clip: bool = True,
    xp: Any = np,
) -> Any:
    """Undoes the padding: boxes of the padded input to boxes of the original image.

    Args:
      boxes_BN4: (B, N, 4) yxyx in [0, 1] of the padded input.
      image_size: (height, width) of the padded input in pixels.
      content_size_B2: (B, 2) height and width that the resized image takes of it, in pixels;
        float32 unless it is a numpy array.
      clip: clip to the original image; else boxes may reach as far as the padding does.
      xp: array module.

    Returns:
      (B, N, 4) float32 yxyx in [0, 1] of the original image.
    """
    stretch_B2 = np.asarray(image_size, np.float32) / content_size_B2
    stretch_B14 = xp.concatenate([stretch_B2, stretch_B2], axis=-1)[:, None, :]
    boxes_BN4 = boxes_BN4 * stretch_B14
    return xp.clip(boxes_BN4, 0.0, 1.0) if clip else boxes_BN4


def coco_results(
    image_ids: Sequence[int | str],
    *,
    boxes_BN4: np.ndarray,
    category_ids_BN: np.ndarray,
    scores_BN: np.ndarray,
    source_size_B2: np.ndarray,
    category_numbers: Mapping[int, int],
    clip: bool = True,
) -> list[dict[str, Any]]:
    """Rows of COCO's result format.

    Args:
      image_ids: of each image, as in the annotations.
      boxes_BN4: (B, N, 4) yxyx in [0, 1] of the original image.
      category_ids_BN: (B, N) int, 0 where there is no object.
      scores_BN: (B, N) probabilities.
      source_size_B2: (B, 2) height and width of the original image in pixels.
      category_numbers: id for the rows of each category id; detections of others are left out.
      clip: negative sizes become 0.

    Returns:
      One dictionary per detection: image_id, category_id, bbox [x, y, width, height] in pixels,
      score. Detections without area are kept, as COCO's tools expect of a detector.
    """
    rows = []
    for index, image_id in enumerate(image_ids):
        height, width = (float(side) for side in source_size_B2[index])
        pixels_N4 = boxes_BN4[index].astype(np.float64) * [height, width, height, width]
        boxes_xywh = box_yxyx_to_xywh(pixels_N4)
        if clip:
            # A far edge before the near one makes no area; it counts as a false alarm.
            boxes_xywh[:, 2:] = np.maximum(boxes_xywh[:, 2:], 0.0)
        categories_N, scores_N = category_ids_BN[index].tolist(), scores_BN[index].tolist()
        for box, category_id, score in zip(boxes_xywh.tolist(), categories_N, scores_N):
            if category_id in category_numbers:
                row = {"image_id": image_id, "category_id": category_numbers[category_id]}
                rows.append({**row, "bbox": box, "score": score})
    return rows
