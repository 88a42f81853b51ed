"""The whole pipeline on generated images, small enough for two processor cores.

    make demo

The network is a narrow ResNet-50 (C4) with two transformer layers on each side, at 64 px: on few
images and in few steps a convolutional stem finds the objects much sooner than a ViT. Sequences,
initial weights and decoding are as published: that reached more than objects ordered by area,
greedy decoding and attention that starts stronger (benchmarks/README.md has the measurement).
"""

from ml_collections import ConfigDict

from configs import base

ROOT = "demo/data"


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "demo"
    config.seed = 7

    # The demonstration's category ids lie below 100, and at 64 px a bin is a pixel.
    config.vocabulary.update(coord_shift=200, num_bins=64, vocab_size=264)

    config.model.update(
        backbone="resnet",
        resnet_variant="c4",
        resnet_width_multiplier=0.25,
        num_encoder_layers=2,
        dim_encoder=128,
        mlp_dim_encoder=256,
        num_heads_encoder=4,
        num_decoder_layers=2,
        dim_decoder=128,
        mlp_dim_decoder=256,
        num_heads_decoder=4,
        max_seq_len=32,
        drop_path=0.0,
        drop_units=0.0,
    )

    set_places(config, ROOT)

    for stage in (config.pretrain, config.finetune):
        stage.image_size = (64, 64)
        stage.batch_size = 32
        stage.warmup_steps = 100
        stage.weight_decay = 0.02
        stage.clip_norm = 1.0
        stage.augmentation.update(scale_min=1.0, scale_max=1.0)
        stage.sequence.max_objects = 4
        stage.steps_per_log = 50
        stage.checkpoint_every_steps = 250
    config.pretrain.update(steps=1000, learning_rate=1.5e-3)
    config.finetune.update(steps=700, learning_rate=1e-3)

    config.evaluation.max_objects = 4
    config.evaluation.batch_size = 64
    config.evaluation.min_metrics.AP = 0.40
    return config


def set_places(config: ConfigDict, root: str) -> None:
    """The data of both stages, as `pipelines/generate_demo_data.py --output=root` writes it."""
    config.data.pretrain = base.data_source("objects365")
    config.data.pretrain.images.train = f"{root}/objects365"
    config.data.pretrain.annotations.train = f"{root}/objects365/zhiyuan_objv2_train.json"
    annotations = f"{root}/coco/annotations/instances_{{split}}2017.json"
    config.data.finetune = base.data_source("coco", f"{root}/coco/{{split}}2017", annotations)
