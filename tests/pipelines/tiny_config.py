"""The config of `tiny_pipeline`; config files import it, so it imports no command."""

from ml_collections import ConfigDict

from configs import base


def make_config(data: str) -> ConfigDict:
    config = base.get_config()
    config.name = "tiny"
    config.seed = 3
    config.vocabulary.update(coord_shift=150, num_bins=32, vocab_size=182)
    config.model.update(
        backbone="vit",
        patch_size=16,
        num_encoder_layers=1,
        dim_encoder=16,
        mlp_dim_encoder=32,
        num_heads_encoder=2,
        num_decoder_layers=1,
        dim_decoder=16,
        mlp_dim_decoder=32,
        num_heads_decoder=2,
        max_seq_len=20,
    )
    config.data.pretrain.images.train = f"{data}/objects365"
    config.data.pretrain.annotations.train = f"{data}/objects365/zhiyuan_objv2_train.json"
    for split in ("train", "val"):
        config.data.finetune.images[split] = f"{data}/coco/{split}2017"
        config.data.finetune.annotations[split] = (
            f"{data}/coco/annotations/instances_{split}2017.json"
        )
    for stage in (config.pretrain, config.finetune):
        stage.image_size = (64, 64)
        stage.batch_size = 4
        stage.steps = 40
        stage.steps_per_log = 10
        stage.checkpoint_every_steps = 5
        stage.learning_rate = 1e-3
        stage.shuffle_buffer = 8
        stage.sequence.max_objects = 4
    config.evaluation.max_objects = 4
    config.evaluation.batch_size = 4
    config.evaluation.num_pictures = 2
    return config
