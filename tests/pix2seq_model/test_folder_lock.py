"""One writer per folder: on a disk, and in a bucket that Google's own client reads and writes."""

import os
import subprocess
import sys
import threading
import time

import pytest

from pix2seq_model import folder_lock
from pix2seq_model.bucket_file import BucketFile
from pix2seq_model.errors import FolderInUseError, UnavailableError, UserError
from pix2seq_model.folder_lock import FolderLock
from tests.fixtures.stored_object import stored_object


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


LEFT = "0123-1 process 1 on a-machine-that-was-taken-away"
WORK = "gs://data/work"


def test_nothing_is_left_of_a_lock_that_was_let_go(tmp_path):
    with FolderLock(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["trainer.lock"]
    assert list(tmp_path.iterdir()) == []


def test_locks_of_other_names_do_not_meet(tmp_path):
    refused = pytest.raises(FolderInUseError, match=r"another conversion .*or name another output")
    with FolderLock(tmp_path), FolderLock(tmp_path, holder="conversion"):
        other = FolderLock(tmp_path, holder="conversion", otherwise="name another output")
        with refused, other:
            pass


def test_many_at_once_never_hold_it_together(tmp_path):
    # A lock that is removed as it is let go could be held on its old file by one that waited.
    holding, together, entered = [], [], []

    def work():
        for _ in range(100):
            try:
                with FolderLock(tmp_path):
                    holding.append(1)
                    together.append(len(holding))
                    entered.append(1)
                    holding.pop()
            except FolderInUseError:
                pass

    _run_together(*[work] * 4)
    assert set(together) == {1}
    assert len(entered) > 4


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="file/work cannot be written"),
        FolderLock(tmp_path / "file" / "work"),
    ):
        pass


# ---- In a bucket, with a hundredth of the time. --------------------------------------------------


@pytest.fixture
def lock_file(monkeypatch):
    """gs://data/work/trainer.lock"""
    monkeypatch.setattr(folder_lock, "RENEW_EVERY_S", 0.05)
    monkeypatch.setattr(folder_lock, "LEFT_BEHIND_S", 0.5)
    with stored_object(monkeypatch, "data", "work/trainer.lock") as stored:
        yield stored


def _run_together(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def test_in_a_bucket_one_that_is_renewed_is_in_use(lock_file):
    refused = pytest.raises(FolderInUseError, match=f"process {os.getpid()}")
    with FolderLock(WORK) as first, refused, FolderLock(WORK):
        pass
    first.check()
    assert lock_file.content is None
    with FolderLock(WORK):
        pass


def test_in_a_bucket_one_that_was_left_behind_is_taken_over(lock_file, capsys):
    lock_file.put(LEFT)
    with FolderLock(WORK) as lock:
        assert f"process {os.getpid()}" in lock_file.content
        lock.check()
    assert "was in use by process 1 on a-machine-that-was-taken-away" in capsys.readouterr().err


@pytest.mark.parametrize("left", [LEFT, None], ids=["left behind", "absent"])
@pytest.mark.parametrize("attempt", range(3))
def test_in_a_bucket_only_one_of_several_takes_it(lock_file, left, attempt):
    del attempt
    if left:
        lock_file.put(left)
    go_on, entered, refused = threading.Event(), [], []
    # All have read what is there before any of them writes.
    barrier, first = threading.Barrier(3), iter(range(3))
    lock_file.before_write = lambda: next(first, None) is not None and barrier.wait(60)

    def try_to_enter():
        try:
            with FolderLock(WORK):
                entered.append(1)
                go_on.wait(60)
        except FolderInUseError:
            refused.append(1)
            if len(refused) == 2:
                go_on.set()

    _run_together(*[try_to_enter] * 3)
    assert (entered, len(refused)) == ([1], 2)


def test_in_a_bucket_a_holder_that_slept_finds_its_successor(lock_file, monkeypatch):
    with FolderLock(WORK) as sleeper:
        # It does not renew any more, as a suspended process does not.
        sleeper._remote._left.set()
        sleeper._remote._thread.join()
        with FolderLock(WORK) as successor:
            with pytest.raises(FolderInUseError, match="was taken over by another trainer"):
                sleeper.check()
            successor.check()
            before = lock_file.content
        assert before.endswith(f"process {os.getpid()} on {os.uname().nodename}")


def test_in_a_bucket_a_renewal_notices_the_successor_too(lock_file):
    with FolderLock(WORK) as lock:
        lock_file.put(LEFT)
        lock._remote._thread.join(60)
        assert not lock._remote._thread.is_alive()
        with pytest.raises(FolderInUseError, match="a-machine-that-was-taken-away"):
            lock.check()
    assert lock_file.content == LEFT  # It is the other one's.


def test_in_a_bucket_a_lock_that_was_removed_by_hand_comes_back(lock_file):
    with FolderLock(WORK) as lock:
        lock_file.content = None
        lock.check()
        assert f"process {os.getpid()}" in lock_file.content


def test_in_a_bucket_an_answer_that_was_lost_is_no_successor(lock_file):
    with FolderLock(WORK) as lock:
        lock_file.lose_answers = 1
        deadline = time.monotonic() + 60
        while lock_file.lose_answers and time.monotonic() < deadline:
            time.sleep(0.01)
        lock.check()
        assert lock_file.lose_answers == 0


def test_in_a_bucket_a_renewal_whose_answer_never_came_is_no_end(lock_file, monkeypatch):
    write, failures = BucketFile.write, [1]

    def written_without_an_answer(file, text, *, over):
        generation = write(file, text, over=over)
        if failures:
            failures.pop()
            raise OSError("no answer")
        return generation

    with FolderLock(WORK):
        monkeypatch.setattr(BucketFile, "write", written_without_an_answer)
        deadline = time.monotonic() + 60
        while failures and time.monotonic() < deadline:
            time.sleep(0.01)
        lost = lock_file.content
        while lock_file.content == lost and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock_file.content not in (lost, None), "it is renewed again, without any check"
    assert lock_file.content is None


def test_in_a_bucket_a_lock_taken_as_it_is_put_back_is_the_others(lock_file):
    with FolderLock(WORK) as lock:
        lock._remote._left.set()
        lock._remote._thread.join()
        lock_file.content = None
        # Between finding nothing and writing.
        lock_file.before_write = lambda: lock_file.put(LEFT)
        with pytest.raises(FolderInUseError, match="a-machine-that-was-taken-away"):
            lock.check()


def test_a_bucket_that_refuses_is_named(lock_file):
    lock_file.refuses = (403, "no storage.objects.get")
    with (
        pytest.raises(UnavailableError, match=r"gs://data/work.*no storage\.objects\.get"),
        FolderLock(WORK),
    ):
        pass
    lock_file.refuses = None
    with FolderLock(WORK) as lock:
        lock._remote._left.set()
        lock._remote._thread.join()
        lock_file.refuses = (403, "no storage.objects.get")
        with pytest.raises(UnavailableError, match="cannot be seen"):
            lock.check()
        lock_file.refuses = None
