"""Fine-tuning on COCO from a model pretrained on Objects365, as published.

Published result (arXiv:2109.10852), AP on COCO val2017 at 640 / 1024 / 1333 px:
resnet 39.1 / 41.7 / 42.6, resnetc 44.7 / 46.9 / 47.3, vit_b 44.2 / 46.5 / 47.1,
vit_l 47.6 / 49.2 / 50.0. Length: 40 epochs of COCO at batch 32.

    python pipelines/run_pipeline.py --config=configs/coco_finetune.py:vit_b,640 \\
        --config.data.finetune.images.train=coco/train2017 \\
        --config.data.finetune.annotations.train=coco/annotations/instances_train2017.json \\
        --config.data.finetune.images.val=coco/val2017 \\
        --config.data.finetune.annotations.val=coco/annotations/instances_val2017.json

--config.finetune.recipe=published takes length, batch, rate, warm-up and jitter from the published
checkpoint of this backbone and size, whose `config.json` holds them; what is given besides stays.
Evaluation is as when the published AP was measured; the report shows AP with clipped boxes too.

The argument is backbone,pixels: resnet, resnetc, vit_b or vit_l; 640, 1024 or 1333.
"""

from ml_collections import ConfigDict

from configs import base
from pix2seq_model.errors import ConfigError
from pix2seq_model.network.config import PUBLISHED_NAMES

SIZES = (640, 1024, 1333)
EPOCHS, WARMUP_EPOCHS, BATCH_SIZE = 40, 2, 32


def get_config(argument: str = "vit_b,640") -> ConfigDict:
    backbone, size = parse(argument)
    config = base.get_config()
    config.name = f"coco_finetune_{backbone}_{size}"
    config.model = base.model(backbone)
    config.data.finetune = coco()
    config.pretrain.enabled = False
    config.finetune = finetune_stage(size)
    evaluate_as_published(config)
    config.finetune.start_from = f"gs://pix2seq/obj365_pretrain/{backbone}_640x640_b256_s400k"
    return config


def evaluate_as_published(config: ConfigDict) -> None:
    """As when the published AP was measured, against the annotation file of the evaluated split."""
    config.evaluation.update(resize="plain", clip_boxes=False)
    # Whichever file an override names.
    truth = config.data.finetune.annotations.get_oneway_ref("val")
    config.evaluation.ground_truth = truth


def finetune_stage(size: int) -> ConfigDict:
    stage = base.published_stage()
    stage.image_size = (size, size)
    stage.batch_size = BATCH_SIZE
    stage.steps = base.epochs(EPOCHS, batch_size=BATCH_SIZE) + 1  # As published: 147,859.
    stage.warmup_steps = base.epochs(WARMUP_EPOCHS, batch_size=BATCH_SIZE)
    stage.learning_rate = 3e-5
    stage.schedule = "linear"
    stage.end_factor = 0.01
    stage.weight_decay = 0.05
    stage.beta_2 = 0.95
    return stage


def coco() -> ConfigDict:
    """COCO 2017 where its archives unpack to, below the working folder."""
    annotations = "data/coco/annotations/instances_{split}2017.json"
    return base.data_source("coco", "data/coco/{split}2017", annotations)


def parse(argument: str) -> tuple[str, int]:
    backbone, _, size = argument.partition(",")
    if backbone not in PUBLISHED_NAMES or size not in map(str, SIZES):
        raise ConfigError(
            f"config argument {argument!r}: give backbone,pixels with a backbone of "
            f"{', '.join(PUBLISHED_NAMES)} and a size of {', '.join(map(str, SIZES))}, as in "
            "vit_b,640."
        )
    return backbone, int(size)
