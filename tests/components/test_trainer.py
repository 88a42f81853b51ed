"""What a submission sets reaches the training, in a work folder of its own."""

import json

import pytest
from tfx.components.trainer import executor as tfx_executor

from components.trainer import Executor, with_overrides

CONFIG = {"config": "configs/demo.py", "overrides": ["seed=1"], "work_dir": "/w/finetune-1"}


def merged(overrides):
    properties = {"custom_config": json.dumps(CONFIG), "overrides": overrides, "run_fn": "f"}
    return with_overrides(properties)


@pytest.mark.parametrize("nothing", ["", " ", None])
def test_without_overrides_nothing_changes(nothing):
    assert json.loads(merged(nothing)["custom_config"]) == CONFIG


def test_overrides_come_last_and_make_another_training():
    config = json.loads(merged("finetune.steps=5  finetune.learning_rate=1e-4")["custom_config"])
    assert config["overrides"] == ["seed=1", "finetune.steps=5", "finetune.learning_rate=1e-4"]
    assert config["work_dir"].startswith("/w/finetune-1-")
    other = json.loads(merged("finetune.steps=6")["custom_config"])
    assert other["work_dir"] != config["work_dir"]
    assert merged("finetune.steps=5")["run_fn"] == "f"


def test_the_executor_hands_them_on(monkeypatch):
    given = []
    monkeypatch.setattr(
        tfx_executor.GenericExecutor, "Do", lambda *arguments: given.append(arguments[-1])
    )
    Executor().Do({}, {}, {"custom_config": json.dumps(CONFIG), "overrides": "finetune.steps=5"})
    assert "finetune.steps=5" in json.loads(given[0]["custom_config"])["overrides"]
