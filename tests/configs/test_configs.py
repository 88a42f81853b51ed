"""Every config loads, and what cannot work is refused with the setting's name."""

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import loading as experiment
from pix2seq_model.network.config import PUBLISHED_NAMES, ModelConfig


@pytest.mark.parametrize("backbone", PUBLISHED_NAMES)
@pytest.mark.parametrize("size", [640, 1024, 1333])
def test_published_recipes_are_arguments(backbone, size):
    config = experiment.load_config(f"configs/coco_finetune.py:{backbone},{size}")
    assert experiment.enabled_stages(config) == ("finetune",)
    assert config.finetune.image_size == (size, size)
    assert experiment.model_config(config, "finetune") == ModelConfig.published(
        backbone, (size, size)
    )
    # 40 epochs of 118,287 images at batch 32, two of them warm-up.
    assert (config.finetune.steps, config.finetune.warmup_steps) == (147_858, 7_392)


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
    config = experiment.load_config(name)
    assert experiment.enabled_stages(config) == stages
    with pytest.raises(AttributeError):
        config.finetune.stepz = 3


def test_overrides_take_the_type_of_the_setting():
    config = experiment.load_config(
        "configs/demo.py",
        [
            "finetune.steps=4e2",
            "finetune.image_size=64,80",
            "finetune.learning_rate=1",
            "pretrain.enabled=false",
            "evaluation.min_metrics.AP50=0.7",
            "push.destination=/srv/models",
        ],
    )
    assert config.finetune.steps == 400
    assert config.finetune.image_size == (64, 80)
    assert config.finetune.learning_rate == 1.0
    assert config.pretrain.enabled is False
    assert config.evaluation.min_metrics.AP50 == 0.7
    assert config.push.destination == "/srv/models"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("finetune.step=4", "did you mean finetune.steps"),
        ("finetune.steps=many", "finetune.steps='many' cannot be read as int"),
        ("finetune.steps=2.5", "must be a whole number"),
        ("finetune.steps=0", "finetune.steps=0 must be at least 1"),
        ("finetune", "write section.field=value"),
        ("finetune=3", "is a section"),
        ("finetune.precision=float16", "none of 'float32', 'mixed_bfloat16'"),
        ("finetune.sequence.max_objects=101", "model.max_seq_len=32"),
        ("finetune.augmentation.scale_min=3", "0 < scale_min <= scale_max"),
        ("finetune.split=test", "data.finetune.annotations.test is empty"),
        ("data.finetune.images.test=x", "images.test is given but"),
        ("vocabulary.num_bins=300", "set vocab_size to at least 500"),
        ("vocabulary.coord_shift=100", "leaves no room for classes"),
        ("model.num_heads_decoder=0", "model.num_heads_decoder=0 must be at least 1"),
        ("model.backbone=swin", "none of 'vit', 'resnet'"),
        ("evaluation.min_metrics.AP60=0.1", "'AP60' is none of"),
        ("evaluation.top_p=2", "must be between 0 and 1"),
    ],
)
def test_wrong_values_are_refused_with_the_remedy(override, message):
    with pytest.raises(ConfigError) as caught:
        experiment.load_config("configs/demo.py", [override])
    assert message in str(caught.value)


def test_missing_and_broken_config_files(tmp_path):
    with pytest.raises(ConfigError, match=r"does not exist; this project has .*configs/demo.py"):
        experiment.load_config("configs/dmeo.py")
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config(:\n")
    with pytest.raises(ConfigError, match=r"broken.py cannot be read: SyntaxError"):
        experiment.load_config(str(broken))
    with pytest.raises(ConfigError, match="give backbone,pixels"):
        experiment.load_config("configs/coco_finetune.py:vit_b,512")
    with pytest.raises(ConfigError, match="takes no argument"):
        experiment.load_config("configs/demo.py:large")
