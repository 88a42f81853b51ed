"""From random weights on COCO at 1333 px, as in the paper (arXiv:2109.10852).

Published AP on COCO val2017: resnet50 43.0, resnet50_dc5 43.2, resnet101 44.5, resnet101_dc5 45.0.
The authors told of about 42 for resnet50 with the published code. Length: 300 epochs at batch 128.

    python pipelines/run_pipeline.py --config=configs/coco_scratch.py:resnet50

The argument is the backbone. What the paper leaves open, end factor and beta_2 among it, is as in
published fine-tuning; docs/recipes.md says which is which.
"""

from ml_collections import ConfigDict

from configs import base, coco_finetune
from pix2seq_model.errors import ConfigError
from pix2seq_model.published.results import SCRATCH_BINS

BACKBONES = {
    "resnet50": {"resnet_depth": 50, "resnet_variant": "standard"},
    "resnet50_dc5": {"resnet_depth": 50, "resnet_variant": "dc5"},
    "resnet101": {"resnet_depth": 101, "resnet_variant": "standard"},
    "resnet101_dc5": {"resnet_depth": 101, "resnet_variant": "dc5"},
}
EPOCHS, WARMUP_EPOCHS, BATCH_SIZE = 300, 10, 128


def get_config(backbone: str = "resnet50") -> ConfigDict:
    if backbone not in BACKBONES:
        raise ConfigError(f"config argument {backbone!r}: give one of {', '.join(BACKBONES)}.")
    config = coco_finetune.get_config("resnet,1333")
    config.name = f"coco_scratch_{backbone}"
    config.vocabulary.num_bins = SCRATCH_BINS
    config.model.update(BACKBONES[backbone])
    stage = config.finetune
    stage.start_from = ""
    set_length(stage, EPOCHS)
    stage.batch_size = BATCH_SIZE
    stage.learning_rate = 3e-3
    stage.augmentation.update(scale_min=0.1, scale_max=3.0)
    return config


def set_length(stage: ConfigDict, epochs: int) -> None:
    """Passes over COCO in batches of `BATCH_SIZE`, the first of them warm-up."""
    stage.steps = base.epochs(epochs, batch_size=BATCH_SIZE) + 1  # Counted as published.
    stage.warmup_steps = base.epochs(WARMUP_EPOCHS, batch_size=BATCH_SIZE)
