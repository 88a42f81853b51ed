"""A stage that does not fit on its machine, or not into its time, is found with what helps."""

import pytest

from pipelines.request import Request
from pipelines.vertex.fit import check_fit
from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment import load_config
from tests.fixtures.step_costs import costs, traced

BFLOAT16 = "finetune.precision=mixed_bfloat16"


@pytest.fixture(autouse=True)
def _jax_without_a_trace(monkeypatch):
    monkeypatch.setattr(estimates, "step_costs", traced)
    monkeypatch.setenv("KERAS_BACKEND", "jax")


def found(*overrides, name="configs/coco_finetune.py:vit_b,640", stages=("finetune",)):
    config = load_config(name, overrides)
    request = Request(config=config, config_name=name, pipeline_root="gs://b/r", stages=stages)
    return list(check_fit(request))


def test_it_fits():
    assert found(BFLOAT16, "finetune.accumulation_steps=2") == []


def test_the_fix_makes_it_fit():
    (finding,) = found()
    assert finding.blocks
    assert finding.what.startswith("finetune does not fit: about ")
    assert "a100-40gb has 36.8 to use" in finding.what
    flags = finding.fix.split()
    assert flags == [
        "--config.finetune.precision=mixed_bfloat16",
        "--config.finetune.accumulation_steps=2",
    ]
    assert found(*(flag.removeprefix("--config.") for flag in flags)) == []


def test_a_larger_machine_is_named_where_the_batch_fits_in_no_way(monkeypatch):
    monkeypatch.setattr(estimates, "step_costs", lambda *_, **__: costs(weights_gib=12))
    (finding,) = found(BFLOAT16)
    assert finding.fix == "--config.cloud.training.preset=a100-80gb"
    monkeypatch.setattr(estimates, "step_costs", lambda *_, **__: costs(weights_gib=60))
    (finding,) = found(BFLOAT16)
    assert finding.fix == "a smaller --config.finetune.image_size or --config.finetune.batch_size"


def test_too_little_time():
    fits = (BFLOAT16, "finetune.accumulation_steps=2")
    (finding,) = found(*fits, "cloud.training.max_days=0.1")
    assert finding.blocks
    assert "is stopped after cloud.training.max_days=0.1" in finding.what
    assert "--config.cloud.training.max_days=2," in finding.fix
    assert found(*fits, "cloud.training.max_days=2") == []


def test_a_budget():
    fits = (BFLOAT16, "finetune.accumulation_steps=2")
    (finding,) = found(*fits, "cloud.budget_usd=10")
    assert finding.blocks
    assert "US dollars by list price, and cloud.budget_usd=10" in finding.what
    assert found(*fits, "cloud.budget_usd=100000") == []
    unknown = ("cloud.training.machine_type=n2-standard-16", "cloud.training.accelerator_count=0")
    assert [
        (finding.blocks, "an unknown price" in finding.what)
        for finding in found("cloud.budget_usd=10", "cloud.training.max_days=9999", *unknown)
        if "budget" in finding.what
    ] == [(False, True)]


def test_a_machine_that_is_not_known_does_not_block():
    (finding,) = found("cloud.training.machine_type=a4-highgpu-8g")
    assert not finding.blocks
    assert "known are a100-40gb," in finding.what


def test_only_stages_that_are_trained_are_asked_about():
    assert found(stages=("convert",)) == []
