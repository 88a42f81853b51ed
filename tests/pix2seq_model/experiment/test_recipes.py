"""Recipes in configs: overrides win, and what comes out loads again as overrides."""

import json

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config, recipes
from pix2seq_model.experiment.recipes import load_with_recipes
from pix2seq_model.published.locations import RECIPE_FILE
from tests.fixtures.published_layout import RECIPE

CONFIG = "configs/coco_finetune.py:vit_b,1024"


@pytest.fixture
def imported(tmp_path):
    """The folder of an imported model, as far as it matters; its recipe is longer than ours."""
    longer = {**RECIPE, "train": {**RECIPE["train"], "epochs": 60, "batch_size": 128}}
    (tmp_path / RECIPE_FILE).write_text(json.dumps(longer))
    return str(tmp_path)


def test_overrides_win_over_the_recipe_and_the_recipe_over_the_config(imported):
    # The warm-up is longer than the config's own training: only the whole is checked.
    given = [
        f"finetune.recipe={imported}",
        "finetune.warmup_steps=50_000",
        "finetune.augmentation.scale_min=0.5",
    ]
    config, overrides, notes = load_with_recipes(CONFIG, given)
    assert (config.finetune.batch_size, config.finetune.steps) == (128, 55_448)
    assert config.finetune.warmup_steps == 50_000
    assert config.finetune.augmentation.to_dict() == {
        **load_config(CONFIG).finetune.augmentation.to_dict(),
        "scale_min": 0.5,
    }
    assert notes[0] == f"finetune: the recipe of {imported}"
    assert "  finetune.batch_size=128" in notes
    assert "  finetune.warmup_steps=50000, not 1848: given by you" in notes
    # What a remote step is handed.
    assert load_config(CONFIG, overrides).to_dict() == config.to_dict()


def test_without_a_recipe_nothing_changes():
    config, overrides, notes = load_with_recipes(CONFIG, ["finetune.steps=90000"])
    assert (overrides, notes) == (["finetune.steps=90000"], [])
    assert config.to_dict() == load_config(CONFIG, overrides).to_dict()


@pytest.mark.parametrize(
    ("config", "stage", "place"),
    [
        (CONFIG, "finetune", "gs://pix2seq/coco_det_finetune/vit_b_1024x1024"),
        (
            "configs/objects365_pretrain.py:resnetc",
            "pretrain",
            "gs://pix2seq/obj365_pretrain/resnetc_640x640_b256_s400k",
        ),
    ],
)
def test_published_is_the_checkpoint_of_the_same_architecture_size_and_stage(
    config, stage, place, monkeypatch
):
    asked = []
    monkeypatch.setattr(recipes, "read_recipe", lambda place: asked.append(place) or RECIPE)
    load_with_recipes(config, [f"{stage}.recipe=published"])
    assert asked == [place]
    with pytest.raises(ConfigError, match="no published checkpoint is of this architecture at 320"):
        load_with_recipes(config, [f"{stage}.recipe=published", f"{stage}.image_size=320"])
