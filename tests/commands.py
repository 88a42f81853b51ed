"""Runs the commands in `pipelines/` as processes of their own, without loading Beam each time.

A fork server imports what is heavy once; every command is then a fresh process forked from it,
with its own flags, its own `__main__`, and its output in files.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import runpy
import sys
import tempfile
import traceback
from pathlib import Path

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["components.conversion.convert"])


@dataclasses.dataclass(frozen=True)
class Done:
    """A process that has ended."""

    status: int
    stdout: str
    stderr: str


def _run(program: str, arguments: tuple[str, ...], out: str, err: str) -> None:
    # The files themselves, as a terminal would be, and not just Python's streams.
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        with open(path, "w") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = [program, *arguments]
    status = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def start_command(name: str, *arguments: object, folder: Path) -> multiprocessing.Process:
    """Starts a command of `pipelines/` and leaves it running; its output goes to `folder`."""
    child = PROCESSES.Process(
        target=_run,
        args=(
            os.fspath(PIPELINES / f"{name}.py"),
            tuple(map(str, arguments)),
            *(str(folder / stream) for stream in ("out", "err")),
        ),
    )
    child.start()
    return child


def run_program(program: str | os.PathLike[str], *arguments: object) -> Done:
    """Runs a Python file as `python program arguments...` would."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = f"{folder}/out", f"{folder}/err"
        child = PROCESSES.Process(
            target=_run, args=(os.fspath(program), tuple(map(str, arguments)), out, err)
        )
        child.start()
        child.join()
        return Done(child.exitcode, Path(out).read_text(), Path(err).read_text())


def run_command(name: str, *arguments: object, status: int = 0) -> Done:
    """Runs a command of `pipelines/`, and checks its exit status and that no traceback is seen."""
    done = run_program(PIPELINES / f"{name}.py", *arguments)
    assert done.status == status, done.stderr
    assert "Traceback" not in done.stderr
    return done
