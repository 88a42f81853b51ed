"""What a submission sets reaches the training, in a work folder of its own."""

import dataclasses
import json
from pathlib import Path

import pytest
from tfx.components.trainer import executor as tfx_executor
from tfx.types.standard_artifacts import Examples, Model

from components.trainer import Executor, with_inputs, with_overrides
from pix2seq_model.data.manifest import DatasetInfo, ShardInfo, SplitInfo
from pix2seq_model.model_folder.folder import MODEL_FILE
from tests.fixtures.records import write_dataset_info
from tests.fixtures.tiny_config import VOCABULARY, model_config

CATEGORIES = ({"id": 1, "name": "a"},)
CONFIG = {"config": "configs/demo.py", "overrides": ["seed=1"], "work_dir": "/w/finetune-1"}
MODEL_INFO = {
    "format_version": 1,
    "model": dataclasses.asdict(model_config()),
    "vocabulary": dataclasses.asdict(VOCABULARY),
    "categories": [],
    "max_objects": 3,
}


def merged(overrides, given=""):
    properties = {"custom_config": json.dumps(CONFIG), "overrides": overrides, "run_fn": "f"}
    return with_overrides({**properties, "given": given})


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


def test_places_of_a_submission_reach_the_config_and_are_no_other_training():
    place = "data.finetune.annotations.val=gs://b/val.json"
    config = json.loads(merged("", given=place)["custom_config"])
    assert config == {**CONFIG, "overrides": ["seed=1", place]}
    both = json.loads(merged("finetune.steps=5", given=place)["custom_config"])
    assert both["overrides"] == ["seed=1", "finetune.steps=5", place]
    alone = json.loads(merged("finetune.steps=5")["custom_config"])
    assert both["work_dir"] == alone["work_dir"]


@pytest.fixture
def work_dir(tmp_path):
    """The work folder of a training on records and from a model, each in a folder of its own."""
    number = iter(range(99))

    def work_dir(records="a", weights=None):
        inputs = {}
        for key, kind in (("examples", Examples), ("base_model", Model)):
            artifact = kind()
            artifact.uri = str(tmp_path / str(next(number)))
            Path(artifact.uri).mkdir()
            inputs[key] = [artifact]
        shard = ShardInfo(file="Split-train/0", num_examples=1, num_bytes=1, sha256=records)
        split = SplitInfo(num_examples=1, num_objects=1, num_bytes=1, shards=(shard,), counts={})
        info = DatasetInfo(name="n", seed=0, categories=CATEGORIES, splits={"train": split})
        write_dataset_info(inputs["examples"][0].uri, info)
        if weights is None:
            del inputs["base_model"]
        else:
            content = {**MODEL_INFO, "weights_sha256": weights}
            (Path(inputs["base_model"][0].uri) / MODEL_FILE).write_text(json.dumps(content))
        properties = with_inputs({"custom_config": json.dumps(CONFIG)}, inputs)
        return json.loads(properties["custom_config"])["work_dir"]

    return work_dir


def test_a_training_belongs_to_its_records_and_its_base_model_wherever_they_are(work_dir):
    assert work_dir() == work_dir()
    assert work_dir(weights="w") == work_dir(weights="w")
    different = [work_dir(), work_dir("b"), work_dir(weights="w"), work_dir(weights="x")]
    assert len({*different}) == 4
    assert all(folder.startswith("/w/finetune-1-") for folder in different)


def test_the_executor_hands_them_on(monkeypatch):
    given = []
    monkeypatch.setattr(
        tfx_executor.GenericExecutor, "Do", lambda *arguments: given.append(arguments[-1])
    )
    Executor().Do({}, {}, {"custom_config": json.dumps(CONFIG), "overrides": "finetune.steps=5"})
    assert "finetune.steps=5" in json.loads(given[0]["custom_config"])["overrides"]
