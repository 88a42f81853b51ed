"""What the libraries say goes to the file, what we say to the terminal."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipelines.local.run_log import run_log
from pix2seq_model.errors import ConfigError

PROGRAM = """
import logging, os, subprocess, sys, warnings
from pathlib import Path
from pipelines.local.run_log import run_log

with run_log(Path(sys.argv[1]), verbose=len(sys.argv) > 2) as path:
    print("progress", file=sys.stderr)
    from absl import logging as absl_logging
    absl_logging.warning("from absl")
    logging.getLogger("tensorflow").warning("from logging")
    warnings.warn("from warnings")
    os.write(2, b"from C++\\n")
    subprocess.run([sys.executable, "-c", "import sys; print('from a worker', file=sys.stderr)"])
print("after", file=sys.stderr)
print(path)
"""
NOISE = ("from absl", "from logging", "from warnings", "from C++", "from a worker")


def ran(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), folder, *arguments],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )


def test_noise_goes_to_the_file(tmp_path):
    ended = ran(tmp_path)
    assert ended.stderr == "progress\nafter\n"
    log = Path(ended.stdout.strip()).read_text()
    assert all(noise in log for noise in NOISE)
    assert "progress" not in log


def test_verbose_shows_it_too(tmp_path):
    ended = ran(tmp_path, "verbose")
    assert all(noise in ended.stderr for noise in NOISE)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"pipeline root .*/file cannot be written"),
        run_log(tmp_path / "file" / "logs"),
    ):
        pass


def fill_the_disk_of_the_log():
    with open("/dev/full", "w") as full:
        os.dup2(full.fileno(), logging.getLogger().handlers[0].stream.fileno())


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path, capfd):
    with run_log(tmp_path) as log:
        fill_the_disk_of_the_log()
        logging.getLogger().error("lost")
        logging.getLogger().error("lost too")
    assert capfd.readouterr().err == f"warning: {log} lacks lines (No space left on device)\n"


def test_on_a_full_disk_the_error_of_the_run_is_the_one_that_is_said(tmp_path, capfd):
    def fails():
        with run_log(tmp_path):
            fill_the_disk_of_the_log()
            logging.getLogger().error("lost")
            raise ConfigError("of the run")

    with pytest.raises(ConfigError, match="of the run"):
        fails()
    assert capfd.readouterr().err == ""
