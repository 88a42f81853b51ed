"""A command that ends before it has begun says why, in one message."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.pix2seq import COMMANDS
from tests.fixtures.commands import PIPELINES

# Stands for a package whose import takes long: Ctrl-C comes meanwhile.
_SLOW = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n"


def _bare(*command, path="", module=()):
    """Runs Python without the packages of its environment."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, "-S", *module, *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        # As from a terminal, also where the tests run in the background, with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("name", [*COMMANDS.values(), "pix2seq"])
def test_in_a_python_without_the_packages_it_names_the_first(name):
    arguments = ["run"] if name == "pix2seq" else []
    done = _bare(PIPELINES / f"{name}.py", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the package ")
    assert "is not installed in this Python: `make env` installs all" in line


def _slow_absl(folder: Path) -> Path:
    (folder / "absl").mkdir()
    (folder / "absl/__init__.py").write_text(_SLOW)
    return folder


@pytest.mark.parametrize("name", ["predict", "pix2seq"])
def test_ctrl_c_while_it_loads_is_one_line(tmp_path, name):
    arguments = ["predict"] if name == "pix2seq" else []
    done = _bare(PIPELINES / f"{name}.py", *arguments, path=_slow_absl(tmp_path))
    assert (done.returncode, done.stderr) == (130, "interrupted; nothing was done yet\n")


def test_a_script_of_an_installation_is_guarded_too(tmp_path):
    script = tmp_path / "pix2seq"
    script.write_text("from pipelines.pix2seq import main\nmain()\n")
    path = f"{_slow_absl(tmp_path)}{os.pathsep}{PIPELINES.parent}"
    done = _bare(script, "predict", path=path)
    assert (done.returncode, done.stderr) == (130, "interrupted; nothing was done yet\n")


def test_an_interruption_that_is_ignored_stays_so(tmp_path):
    (tmp_path / "absl").mkdir()
    (tmp_path / "absl/__init__.py").write_text(
        _SLOW.replace("time.sleep(30)", "raise SystemExit(7)")
    )
    code = (
        "import signal, runpy\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"runpy.run_path({str(PIPELINES / 'predict.py')!r}, run_name='__main__')\n"
    )
    assert _bare("-c", code, path=tmp_path).returncode == 7


def test_a_defect_keeps_its_traceback(tmp_path):
    (tmp_path / "absl").mkdir()
    (tmp_path / "absl/__init__.py").write_text("import pipelines.nothing\n")
    done = _bare(PIPELINES / "predict.py", path=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "No module named 'pipelines.nothing'" in done.stderr


def test_who_imports_a_command_keeps_their_own():
    import pipelines.show_config  # Its flags are no other command's in this process.

    assert pipelines.show_config.__name__
    assert sys.excepthook is not pipelines.cli.guard._explain
    assert signal.getsignal(signal.SIGINT) is not pipelines.cli.guard._interrupted


def test_help_that_nobody_reads_to_its_end_is_no_error():
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} {PIPELINES}/predict.py --help | true; echo ${{PIPESTATUS[0]}}",
        ],
        capture_output=True,
        text=True,
        cwd=PIPELINES.parent,
        env={**os.environ, "PYTHONPATH": str(PIPELINES.parent)},
    )
    assert done.stderr == ""
    assert done.stdout in ("0\n", "141\n")
