"""Activation checkpointing and mixed precision hardly change the loss; the former saves memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import fifty_steps

_BACKENDS = ("tensorflow", "jax")


@pytest.fixture(scope="module")
def results():
    """What `fifty_steps` prints on each backend; both run at once."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.fifty_steps"],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "XLA_FLAGS": "--xla_backend_optimization_level=0",
            },
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
