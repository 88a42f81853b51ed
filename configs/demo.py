"""The whole pipeline on generated images, small enough for two processor cores."""

from ml_collections import ConfigDict

from configs import base

ROOT = "demo/data"


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "demo"
    config.seed = 7

    # Two hundred ids for 365 categories would not do for Objects365; the demo's lie below 100.
    config.vocabulary.coord_shift = 200
    config.vocabulary.num_bins = 128
    config.vocabulary.vocab_size = 328

    config.model.update(
        backbone="vit",
        patch_size=8,
        num_encoder_layers=4,
        dim_encoder=128,
        mlp_dim_encoder=256,
        num_heads_encoder=4,
        num_decoder_layers=2,
        dim_decoder=128,
        mlp_dim_decoder=256,
        num_heads_decoder=4,
        max_seq_len=64,
        drop_path=0.0,
        drop_units=0.0,
    )

    config.data.pretrain = base.data_source("objects365")
    config.data.pretrain.images.train = f"{ROOT}/objects365/train"
    config.data.pretrain.annotations.train = f"{ROOT}/objects365/zhiyuan_objv2_train.json"
    config.data.finetune = base.data_source("coco")
    for split in ("train", "val"):
        config.data.finetune.images[split] = f"{ROOT}/coco/{split}2017"
        config.data.finetune.annotations[split] = (
            f"{ROOT}/coco/annotations/instances_{split}2017.json"
        )

    for stage in (config.pretrain, config.finetune):
        stage.image_size = (96, 96)
        stage.batch_size = 32
        stage.learning_rate = 1e-3
        stage.warmup_steps = 100
        stage.weight_decay = 0.02
        stage.clip_norm = 1.0
        stage.augmentation.scale_min = 0.7
        stage.augmentation.scale_max = 1.4
        stage.sequence.max_objects = 8
        stage.steps_per_log = 50
        stage.checkpoint_every_steps = 250
    config.pretrain.steps = 2000
    config.finetune.steps = 1000

    config.evaluation.max_objects = 8
    config.evaluation.batch_size = 64
    config.evaluation.min_metrics.AP = 0.40
    return config
