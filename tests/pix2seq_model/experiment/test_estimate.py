"""What an estimate says of a stage, from costs of a step that are given."""

import pytest

from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.estimate import GIB, estimate
from pix2seq_model.experiment.machines import MACHINES
from pix2seq_model.experiment.validation import training_run
from tests.fixtures.step_costs import traced


@pytest.fixture(autouse=True)
def _no_trace(monkeypatch):
    monkeypatch.setattr(estimates, "step_costs", traced)


def run(*overrides):
    given = ["finetune.precision=mixed_bfloat16", *overrides]
    return training_run(load_config("configs/coco_finetune.py:vit_b,640", given), "finetune")


def test_memory_by_what_takes_it():
    found = estimate(run(), MACHINES["a100-40gb"])
    assert found.images_per_device == 32
    assert {name: size / GIB for name, size in found.memory.items()} == pytest.approx(
        {
            "weights": 0.5,
            "optimizer": 1.0,
            "accumulated gradients": 0.0,
            "gradients, copies of weights": 0.25,
            "activations": 32.0,
            "inputs": 0.32,
            "libraries": 0.75,
        }
    )
    assert not found.fits  # 34.8 GiB and a tenth, of 36.8.
    assert estimate(run(), MACHINES["a100-80gb"]).fits


def test_accumulation_halves_the_images_and_holds_their_gradients():
    found = estimate(run("finetune.accumulation_steps=2"), MACHINES["a100-40gb"])
    assert found.images_per_device == 16
    assert found.memory["accumulated gradients"] == 0.5 * GIB
    assert found.fits


def test_devices_share_a_batch():
    found = estimate(run(), MACHINES["a100-40gb-x8"], workers=2)
    assert (found.devices, found.images_per_device) == (16, 2)


def test_attention_of_cudnn_is_for_jax_in_bfloat16_on_an_accelerator():
    def activations(machine, *overrides, backend="jax"):
        found = estimate(run(*overrides), MACHINES[machine], backend=backend)
        return found.memory["activations"] / GIB

    assert activations("h100") == 32
    assert activations("h100", backend="tensorflow") == 192
    assert activations("h100", "finetune.precision=float32") == 192
    assert activations("cpu") == 192


def test_time_and_price_follow_the_formula():
    found = estimate(run(), MACHINES["h100"])
    assert found.images_per_s == pytest.approx(0.30 * 989.4)
    hours = 147_859 * 32 / (0.30 * 989.4) / 3600
    assert found.hours == pytest.approx(hours)
    assert found.price_usd == pytest.approx(hours * 11.06125)
    assert estimate(run(), MACHINES["cpu"]).price_usd is None


def test_what_is_computed_again_is_no_operation_of_an_image_but_takes_time():
    plain = estimate(run(), MACHINES["h100"])
    again = estimate(run("finetune.activation_checkpointing=True"), MACHINES["h100"])
    assert again.operations == plain.operations == 1e12
    assert again.images_per_s == pytest.approx(0.19 * 989.4)
    products = estimate(run("finetune.activation_checkpointing=products"), MACHINES["h100"])
    assert again.images_per_s < products.images_per_s < plain.images_per_s


def test_the_input_is_held_against_the_cores():
    assert estimate(run(), MACHINES["l4"]).input_images_per_s == pytest.approx(4 / 5.4e-3)
    larger = run("finetune.image_size=1280")
    assert estimate(larger, MACHINES["l4"]).input_images_per_s == pytest.approx(1 / 5.4e-3)
