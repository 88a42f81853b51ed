"""The paper's three ablations (arXiv:2109.10852) on generated images, in a processor hour.

    python pipelines/run_ablation.py --config=configs/ablation.py --output=demo/ablation
    python pipelines/run_ablation.py --config=configs/ablation.py:paper --output=runs/ablation

Coordinate bins against AP; order of the objects against AP and AR@100; noise objects on or off
against the offset on the end token, from scratch and after pretraining. The network, the images
and the training are as small as they can be for AP to mean something: what comes out says how such
runs behave, not what the paper's do.

The argument `paper` is the same at the paper's size, which takes weeks of many accelerators: a
ResNet-101 at 640 px, 200 epochs of COCO, from random weights and after Objects365, whose data lie
as in `configs/coco_finetune.py` and `configs/objects365_pretrain.py`. docs/recipes.md tells the
paper's settings from this project's choices.

Another data set: give its places (data.finetune.images.train and so on), leave `ablation.draw_into`
empty, and set model, stages and evaluation as in the config it is usually trained with.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import coco_scratch, demo, objects365_pretrain
from pix2seq_model.ablation.settings import AblationSettings
from pix2seq_model.errors import ConfigError

ROOT = "demo/ablation/data"


def get_config(size: str = "small") -> ConfigDict:
    if size not in ("small", "paper"):
        raise ConfigError(f"config argument {size!r}: give small or paper.")
    return paper() if size == "paper" else small()


def paper() -> ConfigDict:
    """The paper's ablations at the paper's size."""
    config = coco_scratch.get_config("resnet101")
    config.name = "ablation_paper"
    config.data.pretrain = objects365_pretrain.objects365()
    config.pretrain = objects365_pretrain.pretrain_stage()
    config.finetune.image_size = (640, 640)
    coco_scratch.set_length(config.finetune, 200)
    settings = AblationSettings(seeds=(0,), bins=(100, 500, 1000, 2000))
    config.ablation = ConfigDict(dataclasses.asdict(settings))
    return config


def small() -> ConfigDict:
    """On generated images."""
    config = demo.get_config()
    config.name = "ablation"

    # Every trial has the vocabulary of the one with the most bins.
    config.vocabulary.update(num_bins=64, vocab_size=config.vocabulary.coord_shift + 64)

    config.model.update(
        resnet_width_multiplier=0.125,
        num_encoder_layers=1,
        dim_encoder=64,
        mlp_dim_encoder=128,
        num_decoder_layers=1,
        dim_decoder=64,
        mlp_dim_decoder=128,
    )

    demo.set_places(config, ROOT)

    for stage in (config.pretrain, config.finetune):
        stage.batch_size = 16
        stage.steps = 1000
        stage.learning_rate = 2e-3
        stage.warmup_steps = 50
        stage.jit_compile = "off"  # XLA would compile longer than a trial trains
        stage.steps_per_log = 50
        stage.checkpoint_every_steps = 100
        stage.keep_checkpoints = 1

    config.evaluation.batch_size = 50

    config.ablation = ConfigDict(dataclasses.asdict(AblationSettings(draw_into=ROOT)))
    return config
