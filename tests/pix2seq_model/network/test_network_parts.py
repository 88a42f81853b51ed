"""The network's own attention, normalisation, GELU and dropout on both backends, next to the plain
ones; and layers whose activations are computed again next to those that keep them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from pix2seq_model.network import blocked_attention, blocked_mlp
from tests.fixtures import network_parts

_BACKENDS = ("tensorflow", "jax")
_PARTS = (
    *("attention", "causal attention", "layer norm", "batch norm", "gelu"),
    *("decoder layer, checkpointed", "decoder, checkpointed", "bottleneck, checkpointed"),
    "encoder layer, checkpointed, its MLP in blocks",
)


@pytest.fixture(scope="module")
def results():
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.fixtures.network_parts"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )
    return {
        "tensorflow": network_parts.results(),
        "jax": json.loads(child.communicate(timeout=600)[0]),
    }


@pytest.mark.parametrize("backend", _BACKENDS)
@pytest.mark.parametrize("part", _PARTS)
def test_results_and_gradients_are_the_plain_ones(results, backend, part):
    assert results[backend][part] < 1e-5


@pytest.mark.parametrize("backend", _BACKENDS)
def test_an_mlp_in_blocks_keeps_the_precision_of_bfloat16(results, backend):
    # Eight bits; 2e-2 is two and a half of its roundings.
    assert 1e-4 < results[backend]["an MLP in blocks, in bfloat16"] < 2e-2


def test_decoder_layers_hold_no_gradients_of_the_encoded_image(results):
    assert results["jax"]["encoded gradients of a layer"] < 0.5


@pytest.mark.parametrize("backend", _BACKENDS)
def test_the_rate_of_dropping_is_kept(results, backend):
    # Four standard deviations of a million draws.
    assert abs(results[backend]["dropped"] - 0.1) < 4 * (0.1 * 0.9 / 1e6) ** 0.5
    assert results[backend]["correlation"] < 4 / 500


def test_small_attention_stays_as_it_is():
    small, large = (network_parts.normal(1, length, 2, 4) for length in (1400, 1500))
    assert not blocked_attention.in_blocks(small, small)
    assert blocked_attention.in_blocks(large, large)


@pytest.mark.parametrize(("images", "in_blocks"), [(1, False), (2, True), (None, True)])
def test_without_a_gradient_a_batch_of_a_few_is_taken_at_once(images, in_blocks):
    # A ViT-B at 640 px, which while training is always in blocks.
    query = SimpleNamespace(shape=(images, 1600, 12, 64))
    with mock.patch.object(blocked_attention, "has_kernel", return_value=False):
        assert blocked_attention.in_blocks(query, query, training=False) == in_blocks
        assert blocked_attention.in_blocks(query, query)


def test_a_small_middle_of_an_mlp_stays_as_it_is():
    # A ViT-B at 640 px, and its decoder.
    assert blocked_mlp.is_large(network_parts.np.zeros((1, 1600, 768)), 3072)
    assert not blocked_mlp.is_large(network_parts.np.zeros((1, 500, 512)), 2048)
