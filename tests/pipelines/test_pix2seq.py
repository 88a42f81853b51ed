"""The console command: every command by a short name, and nothing loaded for that."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipelines import pix2seq
from tests.fixtures.commands import PIPELINES, run_program

ROOT = PIPELINES.parent


def test_it_lists_every_command():
    done = run_program(PIPELINES / "pix2seq.py")
    assert done.status == 0
    for name in pix2seq.COMMANDS:
        assert f"\n  {name} " in done.stdout
    commands = {
        path.stem for path in PIPELINES.glob("*.py") if "run_command(main" in path.read_text()
    }
    assert set(pix2seq.COMMANDS.values()) == commands


def test_it_is_what_the_package_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"pix2seq": "pipelines.pix2seq:main"}


@pytest.mark.parametrize("name", ["predict", "export-onnx", "import_checkpoint"])
def test_help_is_the_command_s_own(name):
    done = run_program(PIPELINES / "pix2seq.py", name, "--help")
    assert done.status == 0
    assert f"python pipelines/{name.replace('-', '_')}.py" in done.stdout
    assert "--output: " in done.stdout


def test_flags_and_errors_are_the_command_s_own(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"")
    flags = ("--model=nowhere", f"--images={tmp_path}", f"--output={tmp_path / 'out'}")
    done = run_program(PIPELINES / "pix2seq.py", "predict", *flags)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nowhere: no such folder.")
    done = run_program(PIPELINES / "pix2seq.py", "predict", *flags, "--batchsize=3")
    assert "there is no flag --batchsize; did you mean --batch_size?" in done.stderr
    done = run_program(PIPELINES / "pix2seq.py", "predikt")
    assert (done.status, done.stderr.splitlines()[0]) == (
        2,
        "error: there is no command 'predikt'; did you mean predict?",
    )


# What stands in for an environment without these packages, and says what else was loaded.
_WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("apache_beam", "tfx", "kfp", "ml_collections"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
try:
    from pipelines import pix2seq
    pix2seq.main()
finally:
    print([name for name in ("tensorflow", "keras", "jax") if name in sys.modules])
"""


def _without_the_pipeline(*arguments):
    command = [sys.executable, "-c", _WITHOUT, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_predict_explains_itself_without_tensorflow_and_beam():
    done = _without_the_pipeline("predict", "--help")
    assert done.returncode == 0, done.stderr
    assert "--tile: " in done.stdout
    assert done.stdout.endswith("[]\n")


def test_a_wrong_model_or_flag_is_said_without_tensorflow_and_beam(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"")
    flags = ("--model=nowhere", f"--images={tmp_path}", f"--output={tmp_path / 'out'}")
    done = _without_the_pipeline("predict", *flags)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr.startswith("error: nowhere: no such folder")
    assert "did you mean" in _without_the_pipeline("predict", "--modell=x").stderr


def test_a_command_of_another_extra_names_it():
    done = _without_the_pipeline("run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "is not installed in this Python: `make env` installs all" in line
    assert "so does `pip install '.[pipeline]'`" in line


def test_the_usage_reads_the_commands_that_are_there():
    assert Path(pix2seq.__file__).parent == PIPELINES
    assert all(pix2seq._about(module) for module in pix2seq.COMMANDS.values())
