"""Learns eight photographs by heart: the whole chain is right together, or AP stays low.

    make overfit

Trained and evaluated on the same images, from random weights, without augmentation. The images and
annotations are given on the command line, as the Makefile does.
"""

from ml_collections import ConfigDict

from configs import base, demo


def get_config() -> ConfigDict:
    config = demo.get_config()
    config.name = "overfit"
    config.vocabulary = base.get_config().vocabulary
    config.model.max_seq_len = 64
    config.pretrain.enabled = False
    annotations = "demo/overfit/instances.json"
    config.data.finetune = base.data_source("coco", "demo/overfit/images", annotations)

    stage = config.finetune
    stage.batch_size = 8
    stage.steps = 1500
    stage.learning_rate = 1e-3
    stage.weight_decay = 0.0
    stage.augmentation.flip = False
    # One sequence of each image, to be learned by heart: in random order there are many.
    stage.sequence.update(max_objects=10, order="area")

    config.evaluation.update(max_objects=10, top_k=1)
    config.evaluation.min_metrics.AP = 0.70
    return config
