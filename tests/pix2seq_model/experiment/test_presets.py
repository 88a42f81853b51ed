"""A preset chooses the machine, and how a stage fits on it with the batch that it has."""

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.machines import MACHINES
from pix2seq_model.experiment.presets import chosen_machine, fitting, settle_machine
from pix2seq_model.experiment.validation import training_run
from tests.fixtures.step_costs import costs, traced

VIT = "configs/coco_finetune.py:vit_b,640"
FULL = "configs/full.py:vit_b,640"


@pytest.fixture(autouse=True)
def _no_trace(monkeypatch):
    monkeypatch.setattr(estimates, "step_costs", traced)


def settled(name, *overrides, stages=("finetune",)):
    given = {override.partition("=")[0] for override in overrides}
    config, found, notes = settle_machine(name, overrides, given=given, stages=stages)
    again = load_config(name, found)
    assert again.to_dict() == config.to_dict()
    return config, notes


def test_a_batch_that_does_not_fit_is_taken_in_parts():
    config, notes = settled(VIT)
    assert config.finetune.precision == "mixed_bfloat16"
    assert config.finetune.accumulation_steps == 2
    assert config.finetune.activation_checkpointing == "none"
    assert config.finetune.batch_size == 32
    assert config.cloud.training.machine_type == "a2-highgpu-1g"
    assert notes[0] == "machine a100-40gb (cloud.training.preset=auto):"
    assert "  finetune.accumulation_steps=2" in notes


def test_pretraining_takes_eight_accelerators_and_the_time_it_needs():
    config, _ = settled(FULL, stages=("pretrain", "finetune"))
    assert config.cloud.training.machine_type == "a2-highgpu-8g"
    assert config.cloud.training.accelerator_count == 8
    assert (config.pretrain.batch_size, config.pretrain.accumulation_steps) == (256, 2)
    assert config.finetune.accumulation_steps == 1
    # 400,000 steps of 256 at 0.9 * 0.3 * 8 * 312 images/s: 1.76 days.
    assert config.cloud.training.max_days == 4.0


def test_what_is_given_stays():
    config, _ = settled(
        *(VIT, "finetune.precision=float32", "cloud.training.max_days=30"),
        *("finetune.activation_checkpointing=True", "finetune.accumulation_steps=4"),
    )
    assert config.finetune.precision == "float32"
    assert config.finetune.activation_checkpointing == "True"
    assert config.finetune.accumulation_steps == 4
    assert config.cloud.training.max_days == 30


def test_the_machine_that_is_given_stays():
    ultra = ("cloud.training.machine_type=a2-ultragpu-1g", "cloud.training.accelerator_count=1")
    config, _ = settled(VIT, *ultra)
    assert config.cloud.training.accelerator_type == "NVIDIA_A100_80GB"
    assert config.finetune.accumulation_steps == 1


def test_none_and_an_unknown_machine_change_nothing():
    for override in ("cloud.training.preset=none", "cloud.training.machine_type=a4-highgpu-8g"):
        config, notes = settled(VIT, override)
        assert config.to_dict() == load_config(VIT, [override]).to_dict()
        assert not notes


def test_a_preset_by_name():
    config, _ = settled(VIT, "cloud.training.preset=h100")
    assert config.cloud.training.machine_type == "a3-highgpu-1g"
    assert config.cloud.training.strategy == "spot"
    flexible = ("cloud.training.preset=h100", "cloud.training.strategy=flex_start")
    assert settled(VIT, *flexible)[0].cloud.training.strategy == "flex_start"
    with pytest.raises(ConfigError, match=r"cloud\.training\.preset='dgx' is none of 'auto'"):
        load_config(VIT, ["cloud.training.preset=dgx"])


def test_a_processor_trains_in_float32():
    config, _ = settled(VIT, "cloud.training.preset=cpu")
    assert config.finetune.precision == "float32"
    assert (
        config.finetune.activation_checkpointing != "none" or config.finetune.accumulation_steps > 1
    )
    assert config.cloud.training.accelerator_count == 0


def test_a_tpu_trains_in_bfloat16_without_the_attention_of_gpus():
    config, notes = settled(VIT, "cloud.training.preset=v6e-8")
    training = config.cloud.training
    assert (training.machine_type, training.tpu_topology) == ("ct6e-standard-8t", "2x4")
    assert (training.accelerator_type, training.accelerator_count) == ("", 8)
    assert config.finetune.precision == "mixed_bfloat16"
    assert config.cloud.evaluation.accelerator_count == 0
    assert notes[0].startswith("machine v6e-8 ")


def test_batch_statistics_are_of_a_whole_batch_as_long_as_it_fits():
    run = training_run(load_config("configs/coco_finetune.py:resnet,640"), "finetune")
    found = fitting(run, MACHINES["a100-40gb"])
    assert found.run.settings.activation_checkpointing == "layers"
    assert found.run.settings.accumulation_steps == 1


def test_nothing_fits(monkeypatch):
    monkeypatch.setattr(estimates, "step_costs", lambda *_, **__: costs(weights_gib=30))
    run = training_run(load_config(VIT), "finetune")
    assert fitting(run, MACHINES["a100-40gb"]) is None


@pytest.mark.parametrize(
    ("stages", "name"), [(("finetune",), "a100-40gb"), (("pretrain",), "a100-40gb-x8")]
)
def test_the_default_machine(stages, name):
    assert chosen_machine(load_config(FULL), stages=stages) == MACHINES[name]
