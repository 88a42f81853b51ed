"""The steps of the loop on both backends: what they learn in other ways, and what is read of them.

Activation checkpointing and mixed precision hardly change the loss; the former saves memory. The
loop reads nothing of what a step computes but for a line of the log.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import counted_reads, fifty_steps

_BACKENDS = ("tensorflow", "jax")
_TOLERANCES = {"mixed": 0.01, "products": 1e-5, "layers": 1e-5}
# To trace a way takes seconds, so one is here: test_train.py trains in mixed precision on
# TensorFlow, test_network_parts.py holds the gradients of checkpointed layers on both, and what
# checkpointing keeps on JAX is looked at below. The other ways: `make test-large`.
_WAYS = {"jax": ("mixed",), "tensorflow": ()}
_OTHER_WAYS = (
    *(("tensorflow", "mixed"), ("tensorflow", "products"), ("tensorflow", "layers")),
    *(("jax", "products"), ("jax", "layers")),
)


@pytest.fixture(scope="module")
def results():
    """What `fifty_steps` finds on each backend; both run at once."""
    child = _start("jax", *_WAYS["jax"])
    return {
        "tensorflow": fifty_steps.results(_WAYS["tensorflow"]),
        "jax": json.loads(child.communicate(timeout=600)[0]),
    }


def _start(backend: str, *ways: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fixtures.fifty_steps", *ways],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )


def _assert_the_loss_stays(result: dict, way: str) -> None:
    plain, other = result["plain"], result[way]
    assert len(plain) == len(other) == fifty_steps.STEPS
    assert other == pytest.approx(plain, rel=_TOLERANCES[way])
    # It was learning, and the other way is another way.
    assert plain[-1] < 0.98 * plain[0]
    assert way != "mixed" or other != plain


@pytest.mark.parametrize(
    ("backend", "way"), [(backend, way) for backend, ways in _WAYS.items() for way in ways]
)
def test_the_loss_of_fifty_steps_stays(results, backend, way):
    _assert_the_loss_stays(results[backend], way)


@pytest.mark.large
@pytest.mark.parametrize(("backend", "way"), _OTHER_WAYS)
def test_the_loss_of_fifty_steps_stays_in_the_other_ways(backend, way):
    _assert_the_loss_stays(json.loads(_start(backend, way).communicate(timeout=600)[0]), way)


def test_what_is_frozen_stays_on_jax_and_the_optimizer_holds_nothing_for_it(results):
    result = results["jax"]["frozen"]
    assert result["moved"] == ["bridge", "decoder"]
    assert result["still"] == ["encoder", "encoder/stem"]
    assert result["slots"] == 3  # Two moments and the average of what is trained.
    assert result["decreased"]


def test_less_is_kept_for_the_backward_pass(results):
    kept = results["jax"]["kept_bytes"]
    assert kept["layers"] < 0.2 * kept["plain"]
    assert kept["layers"] < kept["products"] < 0.7 * kept["plain"]


@pytest.mark.parametrize("backend", _BACKENDS)
def test_nothing_is_read_between_two_lines_of_the_log(results, backend):
    reads = results[backend]["reads"]
    assert len(reads) == counted_reads.STEPS
    for number, found in enumerate(reads, start=1):
        is_line = number % counted_reads.STEPS_PER_LOG == 0
        assert (found > 0) == is_line, f"{found} reads after step {number}"


@pytest.mark.parametrize("backend", _BACKENDS)
def test_a_planted_read_is_found(results, backend):
    assert all(results[backend]["planted"])


def test_on_jax_the_loop_imports_no_tensorflow(results):
    assert results["tensorflow"]["tensorflow"]
    assert not results["jax"]["tensorflow"]
