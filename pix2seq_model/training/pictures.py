"""Training examples as the network sees them, for people."""

import numpy as np
from PIL import Image

from pix2seq_model.boxes import box_yxyx_to_xywh
from pix2seq_model.reports.drawing import LabelledBox, class_color, contact_sheet, draw_boxes
from pix2seq_model.tokens.detections import boxes_from_tokens
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, NOISE_CLASS, Vocabulary

_NOISE_COLOR = (120, 120, 120)


def training_pictures(
    images: np.ndarray,
    targets: np.ndarray,
    *,
    vocabulary: Vocabulary,
    names: dict[int, str],
    max_images: int = 16,
    longer_side: int = 320,
) -> np.ndarray:
    """One sheet of augmented images: real boxes with their class, noise boxes grey and dashed.

    Args:
      images: (B, height, width, 3), uint8 or float in [0, 1].
      targets: (B, L) int, target tokens.
      vocabulary: the token ids.
      names: of the categories, by id.
      max_images: how many of the batch.
      longer_side: of a picture, pixels.

    Returns:
      uint8 (height, width, 3).
    """
    height, width = images.shape[1:3]
    boxes_BN4 = boxes_from_tokens(targets, vocabulary)
    classes_BN = targets.reshape(len(targets), -1, 5)[..., 4]
    pictures, captions = [], []
    for image, boxes_N4, classes_N in zip(images[:max_images], boxes_BN4, classes_BN):
        if image.dtype != np.uint8:
            image = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
        picture = Image.fromarray(image)
        drawn = [
            _drawn(box * [height, width, height, width], token, names)
            for box, token in zip(boxes_N4, classes_N)
            if token
        ]
        # The real ones on top.
        drawn.sort(key=lambda box: not box.dashed)
        pictures.append(draw_boxes(picture, drawn, longer_side=longer_side))
        noise = sum(box.dashed for box in drawn)
        captions.append(f"{len(drawn) - noise} real, {noise} noise")
    return np.asarray(contact_sheet(pictures, captions=captions))


def _drawn(box_yxyx: np.ndarray, token: int, names: dict[int, str]) -> LabelledBox:
    x, y, width, height = box_yxyx_to_xywh(box_yxyx.astype(float)).tolist()
    box = (x, y, width, height)
    if token == NOISE_CLASS:
        return LabelledBox(box, "", _NOISE_COLOR, dashed=True)
    category_id = int(token) - CLASS_SHIFT
    return LabelledBox(box, names.get(category_id, str(category_id)), class_color(category_id))
