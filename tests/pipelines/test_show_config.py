"""The command as a person runs it."""

import json

from tests.fixtures.commands import run_command


def test_values_and_an_explanation():
    done = run_command(
        "show_config", "--config=configs/demo.py", "--config.finetune.steps=300", "--changed"
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["finetune.steps", "300", "command", "line"] in rows
    assert ["finetune.learning_rate", "0.001", "configs/demo.py"] in rows
    assert "configs/base.py" not in done.stdout
    done = run_command("show_config", "--explain=finetune.sequence.order")
    assert "allowed: one of random, area" in done.stdout
    assert "default: 'random'" in done.stdout


def test_values_that_follow_from_the_data(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 50}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 25, 25]}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    for split in ("train", "val"):
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    places = [f"--config.data.finetune.images.all={tmp_path}"]
    config = ("--config=configs/own_data.py:tiny", *places, "--config.finetune.steps=20")
    done = run_command("show_config", *config, "--explain=finetune.image_size")
    assert "allowed: 2 whole numbers" in done.stdout
    assert "finetune.image_size  (96, 96)  scan of the data" in done.stdout
    assert "finetune.image_size=(96, 96): the median box is 25% of " in done.stdout
    assert "finetune.steps" not in done.stdout
    assert f"data.finetune: {tmp_path}: COCO JSON, train, val" in done.stdout
    assert "warning: class dog: no box in any split" in done.stdout
    done = run_command("show_config", "--config=configs/own_data.py", status=2)
    assert "data.finetune.images.all is missing: give the folder of your data" in done.stderr


def test_what_cannot_be_shown():
    assert "give --config=FILE" in run_command("show_config", status=2).stderr
    done = run_command("show_config", "--explain=finetune.ordr", status=2)
    assert "did you mean finetune." in done.stderr
