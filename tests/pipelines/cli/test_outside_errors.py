"""What a machine or the network refuses, in one message."""

import errno
import io
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.exceptions import DefaultCredentialsError

from pipelines.cli.keras_setup import settle_keras
from pipelines.cli.outside_errors import outside_error
from pipelines.cli.quiet import quiet_libraries
from pix2seq_model.errors import ConfigError

PROJECT = Path(__file__).parents[3]


class FailedPreconditionError(Exception):
    """Called as TensorFlow's."""


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x.json"),
            "/data/x.json: No space left on device; free some space there, or name another folder",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied; make"),
        (OSError(errno.EROFS, "", b"/cd"), "Read-only file system; name a folder"),
        (caused(RuntimeError("in a stage"), OSError(errno.ENOSPC, "full", "/x")), "/x: No space"),
        (
            ModuleNotFoundError("No module named 'tfx'", name="tfx.types"),
            "the package tfx is not installed in this Python: `make env` installs all",
        ),
        (ConnectionError("no route"), "the network cannot be reached (ConnectionError: no route)"),
        (DefaultCredentialsError("none"), "run `gcloud auth application-default login`"),
        (Forbidden("of bucket x"), "Google Cloud refuses it (Forbidden: 403 of bucket x)"),
        (OSError(errno.ENOSPC, "full", "/a/from", None, "/b/to"), "/b/to: No space left"),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("{{node x}} /logs/events; No space left on device\nmore"),
            "a disk is full ({{node x}} /logs/events; No space left on device); free some space",
        ),
        (
            FailedPreconditionError("Error executing an HTTP request: libcurl code 6 meaning 'x'"),
            "the network cannot be reached (FailedPreconditionError: Error executing",
        ),
        (RuntimeError("database or disk is full"), "a disk is full (database or disk is full)"),
    ],
)
def test_what_happened_and_what_to_do(error, message):
    assert message in outside_error(error)


def test_a_full_temporary_folder_is_told_how_to_name_another():
    with tempfile.TemporaryDirectory() as scratch:
        full = OSError(errno.ENOSPC, "full", f"{scratch}/graph")
        assert "name another temporary folder in TMPDIR" in outside_error(full)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("ours"),
        ModuleNotFoundError("No module named 'components.x'", name="components.x"),
        OSError("no number"),
        FailedPreconditionError("a variable is not initialized"),
        RuntimeError("libcurl is mentioned"),
        KeyError("x"),
    ],
)
def test_defects_of_ours_are_none(error):
    assert outside_error(error) is None


def test_the_backend_is_one_that_the_project_computes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(ConfigError, match=r"KERAS_BACKEND=torch: .* tensorflow or jax"):
        settle_keras()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    settle_keras()
    assert os.environ["KERAS_BACKEND"] == "jax"
    # What keras.json says is not meant for this project alone.
    monkeypatch.delenv("KERAS_BACKEND")
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    settle_keras()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert capsys.readouterr().err.count("keras.json names the backend torch") == 1


def test_libraries_are_quiet_and_messages_are_not(capfd):
    with quiet_libraries():
        os.write(2, b"from C++\n")
        print("from us", file=sys.stderr)
    assert "from C++" not in capfd.readouterr().err

    def dies():
        with quiet_libraries():
            os.write(2, b"why it died\n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        dies()
    assert "why it died" in capfd.readouterr().err


def test_libraries_do_not_tell_of_each_attempt(caplog):
    with quiet_libraries():
        logging.getLogger("apache_beam.io.gcp.gcsio").warning("attempt 1 of 5 failed")
        logging.getLogger("google.auth.compute_engine").warning("no metadata server")
        logging.getLogger("apache_beam.runners").error("it failed")
    logging.getLogger("apache_beam").warning("said outside")
    assert [record.getMessage() for record in caplog.records] == ["it failed", "said outside"]


def test_a_terminal_that_is_not_utf_8():
    code = (
        "import sys\n"
        "from pipelines.cli.command_line import run_command\n"
        "def main(): print('Größe … 信号機'); print('ä', file=sys.stderr)\n"
        "run_command(main, takes_more=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Gr??e ? ???\n", b"?\n")


def test_streams_that_are_no_terminals(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with quiet_libraries():
        print("kept", file=sys.stderr)
    assert sys.stderr.getvalue() == "kept\n"
