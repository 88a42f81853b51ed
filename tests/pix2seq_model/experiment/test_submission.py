"""A config with what its data say: overrides that load again, what is given, what is wrong."""

import json

import pytest

from pix2seq_model.errors import ConfigError, DataError, ModelError
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.submission import load_for_submission

CONFIG = "configs/own_data.py:tiny"


def annotations(path, *, images=6, boxes=2, category=1, names=("cat", "dog"), crowd=0):
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 50} for i in range(images)
        ],
        "annotations": [
            {"image_id": i, "category_id": category, "bbox": [k, 1, 30, 30], "iscrowd": crowd}
            for i in range(images)
            for k in range(boxes)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
    }
    path.write_text(json.dumps(content))


def places(folder):
    return [
        f"data.finetune.{kind}.{split}={place}"
        for split in ("train", "val")
        for kind, place in (("images", folder), ("annotations", folder / f"{split}.json"))
    ]


@pytest.fixture
def data(tmp_path):
    for split in ("train", "val"):
        annotations(tmp_path / f"{split}.json")
    return tmp_path


def test_what_follows_from_the_data_becomes_overrides(data):
    given = [*places(data), "finetune.steps=20"]
    submission = load_for_submission(CONFIG, given)
    config = submission.config
    assert (config.finetune.batch_size, config.finetune.image_size) == (6, (96, 96))
    assert (config.finetune.steps, config.finetune.warmup_steps) == (20, 2)
    # What a remote step is handed.
    assert load_config(CONFIG, submission.overrides).to_dict() == config.to_dict()
    assert "finetune.batch_size" in submission.scanned
    assert "finetune.steps" not in submission.scanned
    kept = json.loads(json.dumps(submission.scan_json()))
    assert kept["splits"]["train"]["images"] == 6
    by_key = {row["key"]: row for row in kept["settings"]}
    assert by_key["finetune.steps"]["reason"].startswith("given by you; the scan says 1,000")


def test_a_start_may_be_a_folder_of_pushed_versions(tmp_path):
    served = tmp_path / "serving_model"
    for version in ("20260101000000000", "20260201000000000"):
        (served / version).mkdir(parents=True)
        (served / version / "pushed.json").write_text('{"model_folder": "/gone"}')
        (served / version / "model.json").write_text("{}")
    submission = load_for_submission(
        "configs/demo.py", ["pretrain.enabled=False", f"finetune.start_from={served}/"]
    )
    newest = f"{served}/20260201000000000"
    assert submission.config.finetune.start_from == newest
    assert f"finetune.start_from={newest}" in submission.overrides
    (note,) = submission.notes
    assert note.endswith(f"the newest version there, {newest}")
    # A version stays what it is, and so does a place that nobody has looked at.
    for place in (f"{served}/20260101000000000", "gs://bucket/serving_model", "/nowhere"):
        given = ["pretrain.enabled=False", f"finetune.start_from={place}"]
        submission = load_for_submission("configs/demo.py", given)
        assert (submission.config.finetune.start_from, submission.notes) == (place, ())


def test_a_recipe_stands_above_the_scan(data, tmp_path, monkeypatch):
    recipe = {
        "optimization": {"learning_rate": 7e-3},
        "train": {"batch_size": 4, "steps": 90, "epochs": 1},
    }
    (tmp_path / "config.json").write_text(json.dumps(recipe))
    given = [*places(data), f"finetune.recipe={tmp_path}", "finetune.steps=80"]
    submission = load_for_submission(CONFIG, given)
    stage = submission.config.finetune
    assert (stage.learning_rate, stage.batch_size, stage.steps) == (7e-3, 4, 80)
    assert load_config(CONFIG, submission.overrides).to_dict() == submission.config.to_dict()


def test_a_config_that_asks_nothing_of_the_data():
    submission = load_for_submission("configs/demo.py", ["finetune.steps=300"])
    assert (submission.overrides, submission.choices) == (("finetune.steps=300",), ())
    assert submission.scan_json() == {}


@pytest.mark.parametrize(
    ("train", "val", "warning"),
    [
        ({}, {"category": 2}, "class dog: boxes in val, but none in train"),
        ({}, {}, "class dog: no box in any split; label images of it, or leave the class out"),
        ({"category": 9, "boxes": 1}, {}, None),
    ],
)
def test_classes_that_cannot_be_learned(data, train, val, warning):
    annotations(data / "train.json", **train)
    annotations(data / "val.json", **val)
    if warning is None:
        with pytest.raises(DataError, match=r"no box to learn in 6 images.*category_unknown 6"):
            load_for_submission(CONFIG, places(data))
        return
    warnings = load_for_submission(CONFIG, [*places(data), "own_data.batch_size=2"]).warnings
    assert [text.startswith(warning) for text in warnings] == [True]


@pytest.mark.parametrize(
    ("override", "warning"),
    [
        ("own_data.batch_size=8", "fewer than a batch of 8: finetune.batch_size=6 is smaller"),
        ("finetune.batch_size=40", "a batch of 40: finetune.batch_size=40 has some of them twice"),
        ("own_data.batch_size=6", ""),
    ],
)
def test_fewer_images_than_a_batch(data, override, warning):
    warnings = load_for_submission(CONFIG, [*places(data), override]).warnings
    assert [warning in text for text in warnings if "fewer than" in text] == [True] * bool(warning)


def test_many_boxes_that_are_set_aside(data):
    content = json.loads((data / "val.json").read_text())
    content["annotations"] += [{"image_id": 0, "category_id": 9, "bbox": [1, 1, 2, 2]}]
    (data / "val.json").write_text(json.dumps(content))
    submission = load_for_submission(CONFIG, places(data))
    assert "val: 1 boxes are set aside" in submission.warnings[-1]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"train.json": None}, DataError, r"data\.finetune\.annotations: .*train.json: no such"),
        ({"val.json": {"crowd": 1}}, DataError, r"val.json: no box to measure .* crowds: 12;"),
        ({"val.json": {"boxes": 0}}, DataError, r"no box to measure .*set aside: nothing"),
    ],
)
def test_files_that_cannot_be_used(data, changes, kind, message):
    for name, change in changes.items():
        if change is None:
            (data / name).unlink()
        else:
            annotations(data / name, **change)
    with pytest.raises(kind, match=message):
        load_for_submission(CONFIG, places(data))


@pytest.mark.parametrize(
    ("overrides", "kind", "message"),
    [
        (["data.finetune.annotations.val="], ConfigError, r"annotations\.val is empty .* give "),
        (["pretrain.enabled=True"], ConfigError, "own_data.scan settles finetune alone"),
        (["own_data.image_sides=(96,64)"], ConfigError, "must be one side or several, ascending"),
        (["finetune.start_from=/nowhere"], ModelError, "finetune.start_from=/nowhere: .*no model"),
        (["finetune.stepz=1"], ConfigError, "did you mean finetune.steps"),
    ],
)
def test_settings_that_cannot_work(data, overrides, kind, message):
    with pytest.raises(kind, match=message):
        load_for_submission(CONFIG, [*places(data), *overrides])


def test_a_length_in_epochs_becomes_steps(data):
    # Of six images, six a step by the scan; and two a step, given.
    for given, steps in (([], 20), (["finetune.batch_size=2"], 60)):
        overrides = [*places(data), *given, "finetune.epochs=20"]
        submission = load_for_submission(CONFIG, overrides)
        assert submission.config.finetune.steps == steps
        assert load_config(CONFIG, submission.overrides).finetune.steps == steps
    plain = "configs/coco_sample.py:/photographs"
    overrides = [*places(data), "finetune.warmup_steps=1", "finetune.epochs=2.5"]
    submission = load_for_submission(plain, overrides)
    assert submission.config.finetune.steps == 2  # 15 images, 8 a step.
    assert "finetune.steps=2: 2.5 epochs of 6 images, 8 a step" in submission.notes
    assert load_config(plain, submission.overrides).to_dict() == submission.config.to_dict()
    with pytest.raises(ConfigError, match=r"finetune.steps and finetune.epochs are two lengths"):
        load_for_submission(plain, [*overrides, "finetune.steps=7"])
