"""A published checkpoint's recipe: what is taken from its config.json, what is refused."""

import json

import pytest

from pix2seq_model.errors import CheckpointError
from pix2seq_model.published.locations import CONFIG_FILE, RECIPE_FILE
from pix2seq_model.published.recipe import read_recipe, stage_recipe
from tests.fixtures.published_layout import RECIPE


def changed(section, **fields):
    return {**RECIPE, section: {**RECIPE[section], **fields}}


def test_the_published_fine_tuning():
    settings, others = stage_recipe(RECIPE, "finetune", source="x")
    assert settings == {
        "batch_size": 32,
        "steps": 147_859,
        "warmup_steps": 7_392,
        "learning_rate": 3e-5,
        "schedule": "linear",
        "end_factor": 0.01,
        "weight_decay": 0.05,
        "beta_2": 0.95,
        "clip_norm": 0.0,
        "augmentation.scale_min": 0.3,
        "augmentation.scale_max": 2.0,
        "sequence.max_objects": 100,
        "sequence.order": "random",
        "sequence.class_corruption": "rand_n_fake_cls",
        "sequence.padding_weight": 0.1,
    }
    assert others == []


def test_steps_go_before_epochs_and_what_is_done_otherwise_is_named():
    recipe = changed("train", steps=400_000, batch_size=256)
    recipe["optimization"] = {**RECIPE["optimization"], "warmup_steps": 20_000, "beta1": 0.8}
    settings, others = stage_recipe(recipe, "pretrain", source="x")
    assert (settings["steps"], settings["warmup_steps"]) == (400_000, 20_000)
    assert others == ["optimization.beta1=0.8 there; here it is 0.9, which is no setting"]
    recipe = {**RECIPE, "dataset": {"train_num_examples": 64}}
    settings, _ = stage_recipe(recipe, "finetune", source="x")
    assert (settings["steps"], settings["warmup_steps"]) == (81, 4)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (changed("optimization", learning_rate_scaling="linear"), "learning_rate_scaling='linear'"),
        ({**RECIPE, "train": {"epochs": 3}}, r"does not say 'train\.batch_size'"),
        ({**RECIPE, "train": {"batch_size": 3}}, r"does not say 'train\.epochs'"),
    ],
)
def test_recipes_that_cannot_be_followed_are_refused(recipe, message):
    with pytest.raises(CheckpointError, match=message):
        stage_recipe(recipe, "finetune", source="x")


@pytest.mark.parametrize("name", [CONFIG_FILE, RECIPE_FILE, "mine.json"])
def test_a_recipe_is_read_from_a_checkpoint_an_imported_model_or_a_file(name, tmp_path):
    (tmp_path / name).write_text(json.dumps({**RECIPE, "model": {}}))
    place = tmp_path / name if name == "mine.json" else tmp_path
    assert read_recipe(str(place)) == RECIPE


def test_a_place_without_a_recipe_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no recipe can be read"):
        read_recipe(str(tmp_path / "nowhere"))
    (tmp_path / CONFIG_FILE).write_text('{"model": {}}')
    with pytest.raises(CheckpointError, match="has no sections optimization and train"):
        read_recipe(str(tmp_path))


def test_a_damaged_recipe_is_told_once(tmp_path):
    (tmp_path / RECIPE_FILE).write_text("{")
    with pytest.raises(CheckpointError, match=r"is damaged .*; copy it again$"):
        read_recipe(tmp_path)
