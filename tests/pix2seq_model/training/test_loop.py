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


@pytest.fixture(scope="module")
def results():
    """What `fifty_steps` prints on each backend; both run at once."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.fifty_steps"],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        for backend in _BACKENDS
    ]
    outputs = [child.communicate(timeout=600)[0] for child in children]
    return dict(zip(_BACKENDS, map(json.loads, outputs), strict=True))


@pytest.mark.parametrize("backend", _BACKENDS)
@pytest.mark.parametrize(("way", "tolerance"), [("mixed", 0.01), ("checkpointing", 1e-5)])
def test_the_loss_of_fifty_steps_stays(results, backend, way, tolerance):
    plain, other = results[backend]["plain"], results[backend][way]
    assert len(plain) == len(other) == fifty_steps.STEPS
    assert other == pytest.approx(plain, rel=tolerance)
    # It was learning, and the other way is another way.
    assert plain[-1] < 0.98 * plain[0]
    assert way == "checkpointing" or other != plain


def test_less_is_kept_for_the_backward_pass(results):
    kept = results["jax"]["kept_bytes"]
    assert kept["checkpointing"] < 0.2 * kept["plain"]


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
