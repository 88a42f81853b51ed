"""A worker does not outlive its launcher: by forks, and in a real conversion."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.storage import worker_lifetime
from components.storage.worker_lifetime import end_with
from tests.fixtures.commands import run_command, start_command
from tests.fixtures.small_dataset import SmallDataset

_WORKER = "components.storage.worker_lifetime"


def _fork(function):
    if child := os.fork():
        return child
    try:
        function()
    finally:
        os._exit(0)


def _read(pipe):
    """What was written next; nothing if all that hold the other end of the pipe have ended."""
    is_there, _, _ = select.select([pipe], [], [], 60)
    assert is_there, "the worker lives on"
    return os.read(pipe, 10)


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_a_process_ends_when_another_is_killed(has_pidfd, monkeypatch):
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.setattr(worker_lifetime, "_SECONDS", 0.01)
    reads, writes = os.pipe()

    def worker(launcher):
        os.write(writes, b"%10d" % os.getpid())
        end_with(launcher).join()

    def launcher():
        _fork(lambda: worker(os.getppid()))
        signal.pause()

    child = _fork(launcher)
    os.close(writes)
    pid = int(_read(reads))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        assert _read(reads) == b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.close(reads)


def test_one_that_is_gone_already_ends_it_at_once():
    child = _fork(lambda: None)
    os.waitpid(child, 0)
    ended = []
    end_with(child, end=ended.append).join(30)
    assert ended == [1]


def test_a_shell_between_them_does_not_count():
    """As Beam starts a worker."""
    program = f"from {_WORKER} import launcher_of_this_process as f; print(f())"
    for command in (f"{sys.executable} -c '{program}'", f"{sys.executable} -c '{program}'; true"):
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, env={**os.environ}, check=True
        )
        assert int(done.stdout) == os.getpid()


def _workers_of(launcher):
    """Ids of the worker processes below a process."""
    found, parents = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes()
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            if b"sdk_worker_main" in command and b"python" in command and fields[0] != "Z":
                found[int(folder.name)] = command
    below = {launcher}
    for _ in range(4):
        below |= {child for child, parent in parents.items() if parent in below}
    return set(found) & below


@pytest.mark.large
def test_workers_of_a_killed_conversion_write_no_more(tmp_path):
    source = SmallDataset(3000)
    source.write(tmp_path)
    arguments = (
        "--dataset=coco_format",
        f"--images={tmp_path}/images",
        f"--annotations={tmp_path}/labels.json",
        "--num_shards=60",
        "--direct_num_workers=2",
    )
    output = tmp_path / "converted"
    command = start_command("convert_dataset", *arguments, f"--output={output}", folder=tmp_path)
    deadline = time.monotonic() + 240
    while not list(output.glob("progress/train-*")):
        assert time.monotonic() < deadline
        assert command.is_alive(), (tmp_path / "err").read_text()
        time.sleep(0.01)
    workers = _workers_of(command.pid)
    assert len(workers) >= 2
    os.kill(command.pid, signal.SIGKILL)
    command.join()
    while left := {pid for pid in workers if Path(f"/proc/{pid}/exe").exists()}:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
    before = sorted(output.rglob("*"))
    assert not (output / "dataset_info.json").exists()
    time.sleep(1)
    assert sorted(output.rglob("*")) == before
    run_command("convert_dataset", *arguments, f"--output={output}")
    assert (output / "dataset_info.json").exists()
