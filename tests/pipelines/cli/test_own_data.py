"""The data of a config, recognised where a command is given."""

import pytest

from pipelines.cli.own_data import load_submission, settle_data
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.experiment.loading import load_config
from tests.fixtures.label_exports import write_roboflow_coco, write_voc, write_yolo

CONFIG = "configs/coco_sample.py"
AUTO = "data.finetune.format=auto"


def test_places_of_the_config_give_way_to_one_for_all_splits(tmp_path):
    root = write_roboflow_coco(tmp_path)
    found = settle_data(CONFIG, [AUTO, f"data.finetune.images.all={root}", "seed=3"])
    data = load_config(CONFIG, found.overrides).data.finetune
    assert data.format == "coco_format"
    assert data.images.to_dict() == {"train": f"{root}/train", "val": f"{root}/valid", "all": ""}
    assert data.annotations.val == f"{root}/valid/_annotations.coco.json"
    assert load_config(CONFIG, found.overrides).seed == 3
    assert found.notes == [f"data.finetune: {root}: COCO JSON, train, val"]


def test_a_format_of_a_labelling_tool(tmp_path):
    root = write_voc(tmp_path)
    given = ["data.finetune.format=voc", f"data.finetune.images.all={root}"]
    found = settle_data(CONFIG, given)
    data = load_config(CONFIG, found.overrides).data.finetune
    assert data.format == "voc"
    assert data.annotations.train == data.images.train == str(root)


@pytest.mark.parametrize("write", [write_voc, write_yolo])
def test_a_length_in_epochs_is_counted_in_labels_of_a_tool(tmp_path, write):
    given = [f"data.finetune.images.all={write(tmp_path)}", AUTO, "finetune.warmup_steps=0"]
    submission = load_submission(CONFIG, [*given, "finetune.batch_size=1", "finetune.epochs=5"])
    assert submission.config.finetune.steps == 10
    assert "finetune.steps=10: 5 epochs of 2 images, 1 a step" in submission.notes


def test_a_folder_without_splits_names_the_command_that_makes_them(tmp_path):
    flat = write_roboflow_coco(tmp_path) / "train"
    (flat / "_annotations.coco.json").rename(flat / "labels.json")
    flat = flat.rename(tmp_path / "flat")
    given = [f"data.finetune.images.all={flat}", AUTO]
    command = rf"`python pipelines/split_dataset\.py --images={flat} --output=splits`"
    with pytest.raises(DataError, match=rf"{command}, and give --config\.data\.finetune\."):
        settle_data("configs/own_data.py:tiny", given)
    # Who measures on what is trained on needs none.
    assert settle_data(CONFIG, [*given, "evaluation.split=train"]).layouts


def test_other_configs_stay_as_they_are():
    found = settle_data(CONFIG, ["seed=3"])
    assert (found.overrides, found.notes, found.layouts) == (["seed=3"], [], {})


def test_no_place():
    empty = [
        f"data.finetune.{kind}.{s}=" for kind in ("images", "annotations") for s in ("train", "val")
    ]
    with pytest.raises(ConfigError, match=r"data\.finetune\.images\.all is missing"):
        settle_data(CONFIG, [AUTO, *empty])
    with pytest.raises(DataError, match="/nowhere: there is no such folder"):
        settle_data(CONFIG, [AUTO, "data.finetune.images.all=/nowhere"])
