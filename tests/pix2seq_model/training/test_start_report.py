"""What a training says of how it computes; the GPUs are stand-ins, as the tests have none."""

import dataclasses

import pytest

from pix2seq_model.accelerators import Devices
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.training import start_report
from pix2seq_model.training.replicas import Replicas
from tests.fixtures import step_costs, tiny_config

L4 = Devices("gpu", "NVIDIA L4", 2, (8, 9))
PROCESSOR = Devices("cpu", "cpu", 1)
TWO = Replicas(num_devices=2)


def run(**settings):
    return training_run(tiny_config.config(**settings), "finetune")


def said(monkeypatch, given, devices, costs=step_costs.traced, replicas=TWO):
    monkeypatch.setattr(start_report, "local_devices", lambda: devices)
    monkeypatch.setattr(start_report, "compiles", lambda _: True)
    monkeypatch.setattr(start_report.keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(start_report, "step_costs", costs)
    lines = []
    start_report.say_what_runs(given, replicas=replicas, say=lines.append)
    return lines


def test_device_precision_kernels_and_attention():
    lines = start_report.what_runs(
        run(precision="mixed_bfloat16", activation_checkpointing=True),
        backend="jax",
        devices=L4,
        is_compiled=True,
    )
    assert lines == [
        "finetune computes on 2 x NVIDIA L4 with jax in mixed_bfloat16, compiled by XLA "
        "(jit_compile=auto), activation_checkpointing=layers.",
        "finetune attends with: cuDNN's flash attention.",
    ]


def test_on_a_processor():
    lines = start_report.what_runs(
        run(), backend="tensorflow", devices=PROCESSOR, is_compiled=False
    )
    assert "the processor with tensorflow in float32, not compiled by XLA" in lines[0]
    assert "in blocks of queries where an image has over" in lines[1]


def test_float32_on_a_gpu_hears_what_bfloat16_would_save(monkeypatch):
    *_, saving = said(monkeypatch, run(batch_size=8), L4)
    # Traced: 6 GiB an image without flash attention, 1 with it; 4 images on each of two devices,
    # next to weights, their two moments and half as much again of 0.5 GiB, and twice the inputs.
    assert "with flash attention, an image keeps 1.07 GB of activations instead of 6.44" in saving
    assert "a device with 4 images 6.2 GB in all instead of 27.7" in saving


@pytest.mark.parametrize(
    ("precision", "devices"),
    [
        ("mixed_bfloat16", L4),
        ("float32", PROCESSOR),
        ("float32", Devices("gpu", "Tesla T4", 1, (7, 5))),
    ],
)
def test_others_hear_of_no_saving(monkeypatch, precision, devices):
    def traced(*_, **__):
        raise AssertionError("nothing is to be traced")

    lines = said(monkeypatch, run(precision=precision), devices, traced)
    assert len(lines) == 2


def test_a_step_that_cannot_be_traced_is_no_obstacle(monkeypatch):
    def traced(*_, **__):
        raise ConfigError("tracing needs JAX")

    *_, saving = said(monkeypatch, run(), L4, traced)
    assert saving.endswith("how much: tracing needs JAX")


def test_without_flash_attention_the_saving_is_that_of_the_numbers_alone(monkeypatch):
    given = run()
    model = dataclasses.replace(given.model, drop_attention=0.1)
    *_, saving = said(monkeypatch, dataclasses.replace(given, model=model), L4)
    assert "flash" not in saving
