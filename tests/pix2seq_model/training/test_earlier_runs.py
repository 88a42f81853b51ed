"""A training that starts at 0 names the interrupted one next to it, and what continues that."""

import json

import pytest

from pix2seq_model.training.earlier_runs import interrupted_run

IDENTITY = {
    "seed": 3,
    "finetune.steps": 40,
    "finetune.accumulation_steps": 2,
    "finetune.image_size": [64, 64],
    "model.image_size": [64, 64],
    "finetune.learning_rate": 0.001,
    "data": "abc",
}


def write_run(folder, *, batch, **changes):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / f"checkpoints/step-{batch:09d}.npz").write_bytes(b"")
    (folder / "run_identity.json").write_text(json.dumps(IDENTITY | changes))


def said(root, stage="finetune"):
    return interrupted_run(root / f"{stage}-new", IDENTITY, stage=stage)


def test_nothing_beside_it(tmp_path):
    assert said(tmp_path) is None
    write_run(tmp_path / "finetune-done", batch=80, seed=4)  # It came to its end.
    write_run(tmp_path / "pretrain-old", batch=6, seed=4)
    (tmp_path / "finetune-empty").mkdir()
    assert said(tmp_path) is None
    assert interrupted_run(tmp_path / "work", IDENTITY, stage="finetune") is None


def test_the_one_that_differs_least(tmp_path):
    write_run(tmp_path / "finetune-far", batch=70, seed=4, **{"finetune.learning_rate": 0.1})
    changes = {"finetune.image_size": [48, 64], "model.image_size": [48, 64]}
    write_run(tmp_path / "finetune-near", batch=12, **changes)
    assert said(tmp_path) == (
        f"finetune starts at step 0. In {tmp_path}/finetune-near a training was interrupted at "
        "step 6 of 40: finetune.image_size is [48, 64] there, [64, 64] here; the same command with "
        "'--config.finetune.image_size=(48, 64)' continues it"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "other"}, "the data is another; it continues with what it began with"),
        ({}, "its settings are these, but code or packages changed since"),
    ],
)
def test_what_no_setting_says(tmp_path, changes, message):
    write_run(tmp_path / "finetune-old", batch=12, **changes)
    assert message in said(tmp_path)


def test_a_run_that_stopped_early_came_to_its_end(tmp_path):
    write_run(tmp_path / "finetune-early", batch=12, seed=4)
    (tmp_path / "finetune-early/finished.json").write_text("{}")
    assert said(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[1, 2]"])
def test_a_damaged_neighbour_is_no_obstacle(tmp_path, text):
    write_run(tmp_path / "finetune-old", batch=12)
    (tmp_path / "finetune-old/run_identity.json").write_text(text)
    assert said(tmp_path) is None
