"""Which attention is named for a device, and the reason where it is not flash attention."""

import dataclasses

import pytest

from pix2seq_model.accelerators import Devices
from pix2seq_model.network.attention_kind import attention_kind
from pix2seq_model.network.config import PUBLISHED_NAMES, ModelConfig

H100 = Devices("gpu", "NVIDIA H100", 1, (9, 0))
T4 = Devices("gpu", "Tesla T4", 1, (7, 5))
A100 = Devices("gpu", "NVIDIA A100", 8, (8, 0))


def kind(config=None, *, backend="jax", devices=H100, precision="mixed_bfloat16"):
    config = config or ModelConfig.published("vit_b")
    return attention_kind(config, backend=backend, devices=devices, precision=precision)


@pytest.mark.parametrize("name", PUBLISHED_NAMES)
def test_published_networks_have_flash_attention_in_bfloat16(name):
    for devices in (H100, A100):
        found = kind(ModelConfig.published(name), devices=devices)
        assert found.is_flash
        assert found.text() == "cuDNN's flash attention"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"precision": "float32"}, "takes bfloat16, not float32"),
        ({"backend": "tensorflow"}, "KERAS_BACKEND=jax"),
        ({"devices": T4}, r"Tesla T4 is 7.5"),
        ({"devices": Devices("gpu", "MI300", 1)}, "NVIDIA GPU, not MI300"),
        ({"devices": Devices("cpu", "cpu", 1)}, "a processor has no"),
        ({"devices": Devices("tpu", "TPU v5e", 8)}, "splash kernel"),
    ],
)
def test_flash_attention_is_refused_with_a_reason(given, reason):
    found = kind(**given)
    assert not found.is_flash
    assert reason in found.text()


def test_heads_that_cudnn_does_not_take():
    vit_b = ModelConfig.published("vit_b")
    odd = dataclasses.replace(vit_b, dim_decoder=160, num_heads_decoder=8)  # 20 channels
    assert "model.dim_decoder / model.num_heads_decoder is 20" in kind(odd).reason
    wide = dataclasses.replace(vit_b, num_heads_encoder=4)  # 192 channels
    assert kind(wide).is_flash
    assert "at most 128 channels" in kind(wide, devices=A100).reason


def test_dropout_of_attention_weights_needs_them():
    config = dataclasses.replace(ModelConfig.published("vit_b"), drop_attention=0.1)
    assert "model.drop_attention=0.1" in kind(config).reason
