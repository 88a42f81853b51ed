"""The command that says what a training takes, from costs of a step that are given."""

import pytest
from absl.testing import flagsaver

from pipelines import estimate as command
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import estimate as estimates
from tests.fixtures.step_costs import traced

VIT = "configs/coco_finetune.py:vit_b,640"


@pytest.fixture(autouse=True)
def _jax_without_a_trace(monkeypatch):
    monkeypatch.setattr(estimates, "step_costs", traced)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    if not command.FLAGS.is_parsed():
        command.FLAGS.mark_as_parsed()


def ran(capsys, *arguments, **flags):
    with flagsaver.flagsaver(**{"config": VIT, "machine": "", **flags}):
        status = command.main([*arguments])
    return status, capsys.readouterr().out


def test_the_machine_of_the_config(capsys):
    status, said = ran(capsys)
    assert status == 0
    assert "machine a100-40gb (cloud.training.preset=auto):" in said
    assert "finetune on a100-40gb: 1 x a2-highgpu-1g" in said
    assert "batch       32 in 2 parts, 16 at a time on a device" in said
    assert "19.2 GiB a device, of 36.8 that can be used of 40" in said
    assert "activations                     16.00" in said
    assert "fits        yes" in said
    # 0.3 * 312 images/s for 147,859 steps of 32.
    assert "94 images/s, if 30% of 1 x 312 TFLOP/s are reached (assumed" in said
    assert "time        14.0 hours, 0.6 days, for 147,859 steps" in said
    assert "price       52 US dollars at 3.67 an hour" in said
    assert "94 images/s needed, the machine's cores prepare about 2,222" in said


def test_what_does_not_fit_ends_with_status_1(capsys):
    whole = ("--config.finetune.accumulation_steps=1",)
    status, said = ran(capsys, *whole, "--config.finetune.precision=float32", machine="l4")
    assert status == 1
    assert "fits        no; what fits: --config.finetune.precision=mixed_bfloat16 --config." in said


def test_a_named_machine_goes_before_the_config(capsys):
    _, said = ran(capsys, "--config.cloud.training.machine_type=a2-highgpu-8g", machine="h100")
    assert "finetune on h100: 1 x a3-highgpu-1g" in said
    assert "measured there at 640 px" in said


def test_a_price_that_was_not_read_on_its_page_says_so(capsys):
    _, said = ran(capsys, machine="l4")
    assert "(September 2026, https://cloud.google.com/" in said
    assert ", second-hand: as quoted elsewhere)" in said
    _, said = ran(capsys)
    assert "second-hand" not in said


def test_all_machines(capsys):
    status, said = ran(capsys, machine="all")
    assert status == 0
    assert said.count("\nfinetune on ") == 10
    assert "price       unknown" in said  # of the processors


def test_both_stages(capsys):
    _, said = ran(capsys, config="configs/full.py:vit_b,640")
    assert "\npretrain on a100-40gb-x8" in said
    assert "\nfinetune on a100-40gb-x8" in said


def test_what_cannot_be_estimated(capsys):
    with pytest.raises(ConfigError, match="--machine=dgx is none of all, a100-40gb"):
        ran(capsys, machine="dgx")
    with pytest.raises(ConfigError, match="machine_type=a4-highgpu-8g with accelerator_count=1"):
        ran(capsys, "--config.cloud.training.machine_type=a4-highgpu-8g")
    with pytest.raises(ConfigError, match="there is no flag --runner=x"):
        ran(capsys, "--runner=x")
