"""AP on COCO val2017 of the published models, to stand next to our own.

Chen et al., "Pix2seq: A Language Modeling Framework for Object Detection", arXiv:2109.10852, and
the results table published with its checkpoints.
"""

import dataclasses
from collections.abc import Iterable

from pix2seq_model.network.config import ModelConfig
from pix2seq_model.published.coco_categories import COCO_CATEGORIES

# Fine-tuned: by architecture and side of the image in pixels, in percent as published.
COCO_AP = {
    "resnet": {640: 39.1, 1024: 41.7, 1333: 42.6},
    "resnetc": {640: 44.7, 1024: 46.9, 1333: 47.3},
    "vit_b": {640: 44.2, 1024: 46.5, 1333: 47.1},
    "vit_l": {640: 47.6, 1024: 49.2, 1333: 50.0},
}
# From random weights at 1333 px, with as many bins: by depth and variant of the ResNet.
SCRATCH_AP = {
    (50, "standard"): 43.0,
    (50, "dc5"): 43.2,
    (101, "standard"): 44.5,
    (101, "dc5"): 45.0,
}
SCRATCH_BINS = 2000
_SCRATCH_SIDE = 1333
NAMES = {
    "resnet": "ResNet-50",
    "resnetc": "ResNet-50 (C4)",
    "vit_b": "ViT-B",
    "vit_l": "ViT-L",
}

_COCO_CATEGORY_IDS = {category["id"] for category in COCO_CATEGORIES}
_COCO_VAL_IMAGES = 5000


def published_ap(
    model: ModelConfig, *, num_bins: int, category_ids: Iterable[int], num_images: int
) -> tuple[float, str] | None:
    """The published AP of exactly this set-up, 0 to 1, and its name; None if it is none of those.

    Args:
      model: must be a published architecture at a published, square image size.
      num_bins: of a coordinate; tells the models from random weights from those fine-tuned.
      category_ids: of the ground truth; must be COCO's 80.
      num_images: of the ground truth; must be val2017's 5,000.
    """
    height, width = model.image_size
    if height != width or set(category_ids) != _COCO_CATEGORY_IDS or num_images != _COCO_VAL_IMAGES:
        return None
    where = f"at {height} px on COCO val2017"
    if num_bins == SCRATCH_BINS:
        key = (model.resnet_depth, model.resnet_variant)
        plain = dataclasses.replace(model, resnet_depth=50, resnet_variant="standard")
        if plain.published_name() != "resnet" or height != _SCRATCH_SIDE or key not in SCRATCH_AP:
            return None
        suffix = " dc5" if model.resnet_variant == "dc5" else ""
        return SCRATCH_AP[key] / 100, f"ResNet-{key[0]}{suffix} from scratch {where}"
    name = model.published_name()
    if name is None or height not in COCO_AP[name]:
        return None
    return COCO_AP[name][height] / 100, f"{NAMES[name]} {where}"
