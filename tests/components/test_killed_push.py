"""A push killed before each of its file operations: no half model is seen, the next is whole."""

import os
import shutil
import time
from pathlib import Path

import pytest

from components import model_pusher
from components.model_pusher import push_model
from pix2seq_model.model_folder.pushed import find_pushed_version, versions
from tests.components.test_model_pusher import write_model
from tests.fixtures.kill_points import KILLED, dies_before


def _push_and_die(number: int, model: str, served: Path) -> int:
    """Exit status: 9 if it was killed, 0 if there are fewer operations than `number`."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        # TensorFlow copies in C++, where Python sees nothing: the same files, one by one.
        model_pusher.io_utils.copy_dir = shutil.copytree
        model_pusher.io_utils.copy_file = shutil.copyfile
        dies_before(number, served)
        push_model(model, str(served))
    except BaseException:
        os._exit(1)
    os._exit(0)


def _grow_old(served: Path) -> None:
    """Eleven minutes pass: until then another container might be making what is left."""
    for path in served.rglob("*"):
        os.utime(path, (time.time() - 660,) * 2)


def _content(version: str) -> dict[str, bytes]:
    folder = Path(version)
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files.pop("pushed.json")
    return files


def test_killed_before_every_file_operation(tmp_path):
    model = write_model(tmp_path / "model")
    whole = _content(push_model(model, str(tmp_path / "undisturbed"))["path"])
    number, status = 0, KILLED
    while status == KILLED:
        number += 1
        served = tmp_path / f"served{number}"
        status = _push_and_die(number, model, served)
        version = find_pushed_version(served)
        assert version is None or _content(version) == whole, number
        _grow_old(served)
        again = push_model(model, str(served))
        assert _content(again["path"]) == whole, number
        assert len(versions(served)) == 1, number
        # A server takes every folder whose name is a number: all of them are whole.
        assert find_pushed_version(served) == again["path"]
        assert not list(served.glob("*.partial")), number
    assert status == 0
    print(f"killed before each of {number - 1} operations")
    assert number > len(whole)


@pytest.mark.parametrize("name", ["model.json", "saved_model.pb"])
def test_the_check_sees_a_lost_file(tmp_path, name):
    """Or the one above would show nothing."""
    record = push_model(write_model(tmp_path / "model"), str(tmp_path / "served"))
    whole = _content(record["path"])
    Path(record["path"], name).unlink()
    assert _content(record["path"]) != whole
