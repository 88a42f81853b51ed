"""Which stages a request has."""

import dataclasses
import json
from pathlib import Path

import pytest

from pipelines.request import Request, parse_stages, portable_config_name
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config


def request(*overrides, stages=()):
    config = load_config("configs/demo.py", overrides)
    return Request(
        config=config,
        config_name="configs/demo.py",
        overrides=overrides,
        pipeline_root="/root",
        stages=parse_stages(stages, config),
    )


def test_all_stages():
    everything = request()
    assert everything.stages == ("convert", "pretrain", "finetune", "evaluate", "push")
    assert everything.converted == everything.training_stages == ("pretrain", "finetune")


@pytest.mark.parametrize(
    ("stages", "needed", "converted"),
    [
        (["convert"], {"convert"}, ("pretrain", "finetune")),
        (["pretrain"], {"convert", "pretrain"}, ("pretrain",)),
        (["finetune"], {"convert", "pretrain", "finetune"}, ("pretrain", "finetune")),
        (
            ["push"],
            {"convert", "pretrain", "finetune", "evaluate", "push"},
            ("pretrain", "finetune"),
        ),
    ],
)
def test_stages_bring_what_they_build_on(stages, needed, converted):
    chosen = request(stages=stages)
    assert chosen.needed == needed
    assert chosen.converted == converted


def test_stages_come_in_their_order():
    assert request(stages=["push", "convert"]).stages == ("convert", "push")


def test_a_given_model_replaces_pretraining():
    chosen = request("finetune.start_from=/some/model")
    assert chosen.training_stages == ("finetune",)
    assert chosen.stages == ("convert", "finetune", "evaluate", "push")
    assert chosen.needed == set(chosen.stages)


def test_pretraining_alone():
    chosen = request("finetune.enabled=False", "evaluation.split=train")
    assert chosen.training_stages == ("pretrain",)
    assert "finetune" not in chosen.needed


@pytest.mark.parametrize(
    ("overrides", "stages", "message"),
    [
        ((), ["fintune"], "'fintune' is none of convert, pretrain"),
        (("pretrain.enabled=False",), ["pretrain"], r"pretrain\.enabled is false"),
        (("finetune.start_from=x",), ["pretrain"], r"finetune\.start_from names the model"),
    ],
)
def test_stages_that_cannot_run_are_refused(overrides, stages, message):
    with pytest.raises(ConfigError, match=message):
        request(*overrides, stages=stages)


def test_overrides_of_some_sections():
    chosen = request("finetune.steps=300", "seed=1", "evaluation.seed=2")
    assert chosen.overrides_of(["seed", "finetune"]) == ["finetune.steps=300", "seed=1"]
    assert chosen.overrides_of(["evaluation.seed"]) == ["evaluation.seed=2"]


def test_config_names(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2] / "configs")
    assert portable_config_name("demo.py") == "configs/demo.py"
    monkeypatch.chdir(tmp_path)
    assert portable_config_name("configs/full.py:vit_b,640") == "configs/full.py:vit_b,640"
    (tmp_path / "mine.py").write_text("")
    assert portable_config_name("mine.py") == f"{tmp_path}/mine.py"


def test_pipeline_name_is_one_for_vertex():
    assert request("name=My demo_2").pipeline_name == "pix2seq-my-demo-2"


def test_what_was_counted_is_kept_beside_the_records(tmp_path):
    without = dataclasses.replace(request(), pipeline_root=str(tmp_path))
    without.write_scan()
    assert not any(tmp_path.iterdir())
    dataclasses.replace(without, scan={"settings": [1]}).write_scan()
    kept = (tmp_path / "FinetuneExamples/scan.json").read_text()
    assert json.loads(kept) == {"settings": [1]}


def test_places_are_written_down_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert request().place("models/a") == f"{tmp_path}/models/a"
    assert request().place("gs://bucket/a") == "gs://bucket/a"
