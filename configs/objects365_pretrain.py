"""Pretraining on Objects365 at 640 px, as published: batch 256, 400,000 steps.

    python pipelines/run_pipeline.py --config=configs/objects365_pretrain.py:vit_b \\
        --stages=convert,pretrain

The argument is the backbone: resnet, resnetc, vit_b or vit_l. The published figures give batch and
steps of pretraining, not its learning rate: 1e-4 with 10,000 warm-up steps is this project's
choice. --config.pretrain.recipe=published takes all of it from the published checkpoint's
`config.json` instead.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(backbone: str = "vit_b") -> ConfigDict:
    config = base.get_config()
    config.name = f"objects365_pretrain_{backbone}"
    config.model = base.model(backbone)
    config.data.pretrain = objects365()
    config.pretrain = pretrain_stage()
    config.finetune.enabled = False
    return config


def pretrain_stage() -> ConfigDict:
    stage = base.published_stage()
    stage.image_size = (640, 640)
    stage.batch_size = 256
    stage.steps = 400_000
    stage.learning_rate = 1e-4
    stage.warmup_steps = 10_000
    return stage


def objects365() -> ConfigDict:
    """Objects365 v2 as unpacked below the working folder."""
    annotations = "data/objects365/zhiyuan_objv2_{split}.json"
    return base.data_source("objects365", "data/objects365/{split}", annotations)
