"""The traced costs of a small step against what XLA says of the compiled one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_COMPARED = """
import json, sys
from benchmarks.compiled_step import compared, small_run
print(json.dumps(compared(small_run(sys.argv[1], "finetune.image_size=128"))))
"""


@pytest.fixture(scope="module", params=["vit_b", "resnet"])
def found(request):
    # XLA's schedule for many cores holds more at once than the one for little memory.
    flags = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
    done = subprocess.run(
        [sys.executable, "-c", _COMPARED, request.param],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.large
def test_memory_is_that_of_the_compiled_step(found):
    assert abs(found["bytes_difference"]) < 0.15


@pytest.mark.large
def test_operations_are_those_of_the_compiled_step(found):
    assert abs(found["operations_difference"]) < 0.02
