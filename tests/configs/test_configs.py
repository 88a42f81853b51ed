"""Every config loads, with the published numbers where they are known."""

import pytest

from components.conversion.options import conversion_options
from configs import demo
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import enabled_stages, model_config
from pix2seq_model.network.config import PUBLISHED_NAMES, ModelConfig


@pytest.mark.parametrize("backbone", PUBLISHED_NAMES)
@pytest.mark.parametrize("size", [640, 1024, 1333])
def test_published_recipes_are_arguments(backbone, size):
    config = load_config(f"configs/coco_finetune.py:{backbone},{size}")
    assert enabled_stages(config) == ("finetune",)
    assert config.finetune.image_size == (size, size)
    assert model_config(config, "finetune") == ModelConfig.published(backbone, (size, size))
    # 40 epochs of 118,287 images at batch 32, two of them warm-up.
    assert (config.finetune.steps, config.finetune.warmup_steps) == (147_858, 7_392)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("configs/full.py", True),
        ("configs/objects365_pretrain.py", True),
        ("configs/demo.py", False),
        ("configs/overfit.py", False),
    ],
)
def test_published_configs_alone_train_as_published(name, published):
    config = load_config(name)
    for stage in enabled_stages(config):
        assert config[stage].augmentation.crop == ("diagonal" if published else "anywhere")
        assert config[stage].drop_empty_images == published
    assert config.model.attention_initializer == ("published" if published else "glorot")


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("configs/demo.py", ("pretrain", "finetune")),
        ("configs/full.py:resnet,1024", ("pretrain", "finetune")),
        ("configs/objects365_pretrain.py:vit_l", ("pretrain",)),
        ("configs/overfit.py", ("finetune",)),
        ("configs/coco_sample.py:/photographs", ("finetune",)),
    ],
)
def test_configs_load_and_are_locked(name, stages):
    config = load_config(name)
    assert enabled_stages(config) == stages
    with pytest.raises(AttributeError):
        config.finetune.stepz = 3


def test_configs_and_conversion_commands_have_one_limit_of_defects():
    section = demo.get_config().data.finetune.to_dict()
    assert conversion_options(section, name="demo", seed=0).limits == DefectLimits()
