"""Whose the accelerators are, and whether they are there; by stand-ins, as the tests have none."""

from types import SimpleNamespace

import jax
import keras
import pytest
import tensorflow as tf

from pix2seq_model import accelerators
from pix2seq_model.errors import ConfigError
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.training.train import train
from tests.fixtures.evaluated_model import write_model


@pytest.fixture(params=["jax", "tensorflow"])
def backend(request, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: request.param)
    return request.param


@pytest.fixture
def hidden(monkeypatch):
    """What TensorFlow is told to see, call by call."""
    calls = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *given: calls.append(given))
    return calls


def test_tensorflow_leaves_gpus_to_the_backend_that_computes(backend, hidden):
    accelerators.leave_to_backend()
    assert hidden == ([([], "GPU")] if backend == "jax" else [])


def test_gpus_that_tensorflow_holds_already_are_said(monkeypatch):
    def refuse(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.warns(UserWarning, match="TensorFlow holds the GPUs"):
        accelerators.leave_to_backend()


def test_who_loads_a_model_leaves_them_first(tmp_path, monkeypatch):
    class AskedError(Exception):
        pass

    def ask():
        raise AskedError

    # Evaluation, prediction, pages and exports have their network from here.
    monkeypatch.setattr(accelerators, "leave_to_backend", ask)
    with pytest.raises(AskedError):
        load_model_folder(str(write_model(tmp_path / "model")))


def devices(backend, monkeypatch, *kinds):
    if backend == "jax":
        found = [SimpleNamespace(platform="gpu" if k == "GPU" else "cpu") for k in kinds]
        monkeypatch.setattr(jax, "local_devices", lambda: found)
    else:
        found = [SimpleNamespace(device_type=k, name=f"{k}:0") for k in kinds]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda: found)


@pytest.mark.parametrize(("kinds", "number"), [(("CPU",), 0), (("CPU", "GPU", "GPU"), 2)])
def test_those_that_were_promised(kinds, number, backend, monkeypatch):
    devices(backend, monkeypatch, *kinds)
    accelerators.check_accelerators(number)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib")
    with pytest.raises(ConfigError, match=f"{backend} sees {number}: .*LD_LIBRARY_PATH=/usr/lib "):
        accelerators.check_accelerators(number + 1)


def test_training_stops_before_it_reads_anything():
    with pytest.raises(ConfigError, match=r"accelerator_count=4 .* sees 0"):
        train(
            SimpleNamespace(
                settings=SimpleNamespace(batch_size=4, accumulation_steps=1, freeze="none"),
                stage="finetune",
            ),
            examples_dir="/nowhere",
            model_dir="/nowhere",
            work_dir="/nowhere",
            logs_dir="/nowhere",
            accelerators=4,
        )


def test_what_the_devices_are(backend, monkeypatch):
    h100 = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100", compute_capability="9.0")
    monkeypatch.setattr(jax, "local_devices", lambda: [h100, h100])
    details = {"device_name": "NVIDIA H100", "compute_capability": (9, 0)}
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: [h100] * 2 if kind == "GPU" else []
    )
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    found = accelerators.local_devices()
    assert found == accelerators.Devices("gpu", "NVIDIA H100", 2, (9, 0))
    assert found.text() == "2 x NVIDIA H100"


def test_this_machine_has_a_processor(backend):
    found = accelerators.local_devices()
    assert (found.platform, found.count, found.compute_capability) == ("cpu", 1, None)
    assert found.text() == "the processor"
