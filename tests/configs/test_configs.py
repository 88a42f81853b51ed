"""Every config loads, with the published numbers where they are known."""

import pytest

from components.conversion.options import conversion_options
from configs import demo
from pix2seq_model.ablation.trials import plan_trials
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.validation import enabled_stages, model_config
from pix2seq_model.network.config import PUBLISHED_NAMES, ModelConfig
from pix2seq_model.published.coco_categories import COCO_CATEGORIES
from pix2seq_model.published.results import published_ap


@pytest.mark.parametrize("backbone", PUBLISHED_NAMES)
@pytest.mark.parametrize("size", [640, 1024, 1333])
def test_published_recipes_are_arguments(backbone, size):
    config = load_config(f"configs/coco_finetune.py:{backbone},{size}")
    assert enabled_stages(config) == ("finetune",)
    assert config.finetune.image_size == (size, size)
    assert model_config(config, "finetune") == ModelConfig.published(backbone, (size, size))
    # 40 epochs of 118,287 images at batch 32, two of them warm-up, counted as published.
    assert (config.finetune.steps, config.finetune.warmup_steps) == (147_859, 7_392)


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
        assert config[stage].image_dtype == ("float32" if published else "uint8")
    assert config.model.attention_initializer == "published"


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("configs/demo.py", ("pretrain", "finetune")),
        ("configs/ablation.py", ("pretrain", "finetune")),
        ("configs/ablation.py:paper", ("pretrain", "finetune")),
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


@pytest.mark.parametrize("config", ["coco_finetune.py:resnetc,640", "full.py:vit_b,1333"])
def test_published_configs_are_evaluated_as_the_published_ap_was(config):
    evaluation = load_config(f"configs/{config}").evaluation
    assert (evaluation.resize, evaluation.clip_boxes) == ("plain", False)
    # The truth is the annotation file that is given, and another one does not replace the data.
    given = ["data.finetune.annotations.val=/coco/val.json"]
    assert load_config(f"configs/{config}", given).evaluation.ground_truth == "/coco/val.json"
    other = load_config(f"configs/{config}", [*given, "evaluation.ground_truth=/mine.json"])
    assert other.evaluation.ground_truth == "/mine.json"
    assert other.data.finetune.annotations.val == "/coco/val.json"


@pytest.mark.parametrize(
    ("backbone", "ap"),
    [("resnet50", 43.0), ("resnet50_dc5", 43.2), ("resnet101", 44.5), ("resnet101_dc5", 45.0)],
)
def test_from_scratch_as_in_the_paper(backbone, ap):
    config = load_config(f"configs/coco_scratch.py:{backbone}")
    assert enabled_stages(config) == ("finetune",)
    stage = config.finetune
    assert (stage.start_from, stage.image_size, stage.batch_size) == ("", (1333, 1333), 128)
    assert (stage.learning_rate, stage.weight_decay, stage.schedule) == (3e-3, 0.05, "linear")
    # 300 epochs of 118,287 images, ten of them warm-up.
    assert (stage.steps, stage.warmup_steps) == (277_236, 9_241)
    assert (stage.augmentation.scale_min, stage.augmentation.scale_max) == (0.1, 3.0)
    assert (config.vocabulary.num_bins, config.model.drop_path) == (2000, 0.1)
    category_ids = [row["id"] for row in COCO_CATEGORIES]
    model, bins = model_config(config, "finetune"), config.vocabulary.num_bins
    found = published_ap(model, num_bins=bins, category_ids=category_ids, num_images=5000)
    assert found is not None
    assert found[0] == pytest.approx(ap / 100)


def test_the_papers_ablations_at_the_papers_size():
    config = load_config("configs/ablation.py:paper")
    trials = plan_trials(config)
    assert (config.finetune.image_size, config.finetune.steps) == ((640, 640), 184_824)
    assert (config.model.resnet_depth, config.evaluation.top_p) == (101, 0.4)
    # Bins and orders, of which one is the usual trial; two pretrained models; three more starts.
    assert len(trials) == 4 + 6 - 1 + 2 + 3
    assert {trial.pretrained for trial in trials} == {None, True, False}


@pytest.mark.parametrize(
    ("size", "architecture", "start"),
    [
        ("tiny", None, ""),
        ("small", None, ""),
        ("base", "vit_b", "gs://pix2seq/obj365_pretrain/vit_b_640x640_b256_s400k"),
        ("large", "vit_l", "gs://pix2seq/obj365_pretrain/vit_l_640x640_b256_s400k"),
    ],
)
def test_own_data_loads_without_a_scan(size, architecture, start):
    places = [
        f"data.finetune.{kind}.{split}=x"
        for kind in ("images", "annotations")
        for split in ("train", "val")
    ]
    config = load_config(f"configs/own_data.py:{size}", places)
    assert enabled_stages(config) == ("finetune",)
    assert config.own_data.scan
    assert model_config(config, "finetune").published_name() == architecture
    assert config.finetune.start_from == start
    # The places, and nothing else.
    with pytest.raises(ConfigError, match=r"annotations\.train is empty"):
        load_config(f"configs/own_data.py:{size}")
    with pytest.raises(ConfigError, match="give one of tiny, small, base, large"):
        load_config("configs/own_data.py:huge", places)


def test_configs_and_conversion_commands_have_one_limit_of_defects():
    section = demo.get_config().data.finetune.to_dict()
    assert conversion_options(section, name="demo", seed=0).limits == DefectLimits()
