"""One trainer per folder."""

import os
import subprocess
import sys

import pytest

from pix2seq_model.folder_lock import FolderInUseError, FolderLock


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
        "import os, sys; from pix2seq_model.folder_lock import FolderLock; "
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
