"""The paper's three ablations (arXiv:2109.10852) on generated images, in a processor hour.

    python pipelines/run_ablation.py --config=configs/ablation.py --output=demo/ablation

Coordinate bins against AP; order of the objects against AP and AR@100; noise objects on or off
against the offset on the end token, from scratch and after pretraining. The network, the images
and the training are as small as they can be for AP to mean something: what comes out says how such
runs behave, not what the paper's do.

Another data set: give its places (data.finetune.images.train and so on), leave `ablation.draw_into`
empty, and set model, stages and evaluation as in the config it is usually trained with.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import demo
from pix2seq_model.ablation.settings import AblationSettings

ROOT = "demo/ablation/data"


def get_config() -> ConfigDict:
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
        stage.sequence.order = "random"
        stage.steps_per_log = 50
        stage.checkpoint_every_steps = 100
        stage.keep_checkpoints = 1

    # As published: sampled from the nucleus.
    config.evaluation.top_k = 0
    config.evaluation.batch_size = 50

    config.ablation = ConfigDict(dataclasses.asdict(AblationSettings(draw_into=ROOT)))
    return config
