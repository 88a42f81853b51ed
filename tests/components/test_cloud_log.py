"""A program's lines, by the stream that gives them their severity on Vertex AI."""

import subprocess
import sys

import pytest

from components.cloud_log import logged

PROGRAM = """
import logging as plain, sys, warnings
from absl import app, logging
from pix2seq_model.progress import LiveLine

def main(arguments):
    logging.info("told %s", arguments[1:])
    plain.getLogger("apache_beam").warning("slow")
    warnings.warn("old")
    logging.error("damaged")
    LiveLine().message("3/7 (42%)")
    print("printed")
    raise RuntimeError("the end")

if __name__ == "__main__":
    logging.set_verbosity("info")
    app.run(main)
"""


def test_progress_and_warnings_are_no_errors(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{sys.path[0]}", prepend=":")
    command = logged(["python", "-m", "program", "a", "b"])
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True)
    assert done.returncode == 1
    for text in ("told ['a', 'b']", "slow", "old", "3/7 (42%)", "printed"):
        assert text in done.stdout
        assert text not in done.stderr
    for text in ("damaged", "Traceback", "RuntimeError: the end"):
        assert text in done.stderr
        assert text not in done.stdout


def test_only_a_module_can_be_run_like_that():
    with pytest.raises(ValueError, match="python -m"):
        logged(["sh", "-c", "true"])
