"""gpu.sh itself, with a stand-in for Python that notes what it is asked."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks/gpu.sh"
STAND_IN = """#!/usr/bin/env bash
echo "$* KERAS_BACKEND=$KERAS_BACKEND PYTHONPATH=$PYTHONPATH" >> "$CALLS"
case "$*" in
  *gpu.decode*) [ -z "$FAILS" ] || exit 3 ;;
  *gpu.report*) echo "the tables" > "$RESULTS/gpu.md" ;;
  *pip*) while [ $# -gt 0 ]; do [ "$1" != --target ] || mkdir -p "$2"; shift; done ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    python, calls, output = tmp_path / "python", tmp_path / "calls", tmp_path / "out"
    python.write_text(STAND_IN)
    python.chmod(0o755)

    def run(*arguments, fails=""):
        calls.write_text("")
        done = subprocess.run(
            ["bash", SCRIPT, f"--output={output}", f"--wheels={tmp_path}/wheels", *arguments],
            env={
                **os.environ,
                "PYTHON": str(python),
                "PYTHONPATH": "/hidden",
                "CALLS": str(calls),
                "RESULTS": str(output),
                "FAILS": fails,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done, calls.read_text().splitlines()

    return run


def modules(calls):
    return [call.split()[1] for call in calls if call.startswith("-m benchmarks")]


def test_all_parts_one_after_the_other(run, tmp_path):
    done, calls = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the tables\n"
    parts = [f"benchmarks.gpu.{part}" for part in ("step", "decode", "train", "report")]
    assert modules(calls) == parts
    assert all("KERAS_BACKEND=jax" in call for call in calls)
    assert f"--batches={SCRIPT.parents[1]}/build/gpu/batches.npz" in calls[2]
    assert "train took" in done.stderr


def test_a_part_of_its_own(run, tmp_path):
    _, calls = run("train", f"--batches={tmp_path}/b.npz")
    assert modules(calls) == ["benchmarks.gpu.train", "benchmarks.gpu.report"]
    assert f"--batches={tmp_path}/b.npz" in calls[0]
    _, calls = run("step", "--tiny")
    assert calls[0].startswith(f"-m benchmarks.gpu.step --output={tmp_path}/out --tiny ")


def test_carried_packages_come_first(run, tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/keras-1.whl").touch()
    _, calls = run("step")
    assert "-m pip install --quiet --no-index --no-deps" in calls[0]
    assert calls[0].split(" KERAS_BACKEND")[0].endswith(f"{tmp_path}/wheels/keras-1.whl")
    (site,) = (tmp_path / "out/cache").glob("site*")
    assert f"PYTHONPATH={site}:{SCRIPT.parents[1]}:/hidden" in calls[1]
    # They are there now.
    _, calls = run("step")
    assert modules(calls) == ["benchmarks.gpu.step", "benchmarks.gpu.report"]
    assert "pip" not in calls[0]
    (tmp_path / "wheels/keras-1.whl").rename(tmp_path / "wheels/keras-2.whl")
    assert "keras-2.whl" in run("step")[1][0]


def test_a_part_that_fails_does_not_stop_the_others(run):
    done, calls = run(fails="yes")
    assert done.returncode == 1
    assert "decode ended with status 3" in done.stderr
    assert modules(calls)[-2:] == ["benchmarks.gpu.train", "benchmarks.gpu.report"]


def test_an_unknown_argument_gets_the_usage(run):
    done, calls = run("fly")
    assert (done.returncode, calls) == (2, [])
    assert "--batches=FILE" in done.stderr


def test_the_parts_take_at_most_nine_minutes_together():
    (line,) = [line for line in SCRIPT.read_text().splitlines() if line.startswith("declare -A")]
    limits = [int(part.split("]=")[1]) for part in line.split("(")[1].rstrip(")").split()]
    assert sum(limits) + 30 <= 540
