"""The benchmark runs, and its engines agree on what it draws."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("guess", ["any", "few"])
def test_a_small_run(guess):
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/evaluate.py"),
            *("--images=20", "--detections=40", f"--guess={guess}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["largest_difference"] <= 1e-9
    assert report["AP"] > 0.01
    assert report["seconds"].keys() == {"hotcoco", "pycocotools"}
