"""The loop reads nothing of what a step computes but for a line of the log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pix2seq_model.training import counted_reads


@pytest.fixture(scope="module")
def counted():
    """What `counted_reads` finds, by backend."""
    children = {
        backend: subprocess.Popen(
            [sys.executable, "-m", "tests.pix2seq_model.training.counted_reads"],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        for backend in ("tensorflow", "jax")
    }
    return {
        backend: json.loads(child.communicate(timeout=600)[0])
        for backend, child in children.items()
    }


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_nothing_is_read_between_two_lines_of_the_log(counted, backend):
    reads = counted[backend]["reads"]
    assert len(reads) == counted_reads.STEPS
    for number, found in enumerate(reads, start=1):
        is_line = number % counted_reads.STEPS_PER_LOG == 0
        assert (found > 0) == is_line, f"{found} reads after step {number}"


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_planted_read_is_found(counted, backend):
    assert all(counted[backend]["planted"])


def test_on_jax_the_loop_imports_no_tensorflow(counted):
    assert counted["tensorflow"]["tensorflow"]
    assert not counted["jax"]["tensorflow"]
