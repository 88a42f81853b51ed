"""One trainer per folder."""

import os
import subprocess
import sys
import threading

import pytest

from pix2seq_model.errors import FolderInUseError
from pix2seq_model.training import folder_lock
from pix2seq_model.training.folder_lock import FolderLock


def test_a_second_lock_is_refused_until_the_first_is_let_go(tmp_path):
    with FolderLock(tmp_path):
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()}"), FolderLock(tmp_path):
            pass
        # The attempt above leaves the first one its lock.
        with pytest.raises(FolderInUseError), FolderLock(tmp_path):
            pass
    with FolderLock(tmp_path):
        pass


def test_a_process_that_dies_lets_go(tmp_path):
    program = (
        "import os, sys; from pix2seq_model.training.folder_lock import FolderLock; "
        "lock = FolderLock(sys.argv[1]); lock.__enter__(); print('held', flush=True); "
        "sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError, match=f"process {child.pid}"), FolderLock(tmp_path):
        pass
    child.kill()
    child.communicate()
    with FolderLock(tmp_path):
        pass


@pytest.fixture
def in_bucket(monkeypatch):
    """Makes locks as in a bucket, where there is only a file, with a hundredth of the time."""
    monkeypatch.setattr(folder_lock, "RENEW_EVERY_S", 0.05)
    monkeypatch.setattr(folder_lock, "LEFT_BEHIND_S", 0.5)
    monkeypatch.setattr(folder_lock, "_SETTLED_S", 0.1)

    def make(folder):
        lock = FolderLock(folder)
        lock._remote = True
        return lock

    return make


def test_in_a_bucket_one_that_is_renewed_is_in_use(in_bucket, tmp_path):
    refused = pytest.raises(FolderInUseError, match=f"process {os.getpid()}")
    with in_bucket(tmp_path), refused, in_bucket(tmp_path):
        pass
    assert not (tmp_path / "trainer.lock").exists()
    with in_bucket(tmp_path):
        pass


def test_in_a_bucket_one_that_was_left_behind_is_taken_over(in_bucket, tmp_path, capsys):
    (tmp_path / "trainer.lock").write_text("0123 process 1 on a-machine-that-was-taken-away")
    with in_bucket(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / "trainer.lock").read_text()
    assert "was in use by process 1 on a-machine-that-was-taken-away" in capsys.readouterr().err


def test_in_a_bucket_only_one_of_two_takes_over(in_bucket, tmp_path):
    (tmp_path / "trainer.lock").write_text("0123 process 1 on a-machine-that-was-taken-away")
    go_on, entered, refused = threading.Event(), [], []

    def try_to_enter():
        try:
            with in_bucket(tmp_path):
                entered.append(1)
                go_on.wait(10)
        except FolderInUseError:
            refused.append(1)
            go_on.set()

    threads = [threading.Thread(target=try_to_enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (entered, refused) == ([1], [1])
