"""What `make fuzz` calls a fault is found where it was planted."""

import os
import time

import pytest

from pix2seq_model.errors import DataError
from tests.fuzz.borders import Border
from tests.fuzz.run import MOST_BYTES, MOST_SECONDS, Fuzzer


def _fuzzer(read, **limits):
    return Fuzzer(Border(lambda: [b"whole"], read), **limits)


def _refuse(data, folder):
    raise DataError("named")


def test_what_is_taken_or_named_is_no_fault():
    for read in (lambda data, folder: None, _refuse):
        fuzzer = _fuzzer(read)
        fuzzer._try(b"x")
        assert fuzzer.tried == 1


def test_another_error_is_a_fault():
    with pytest.raises(ZeroDivisionError):
        _fuzzer(lambda data, folder: 1 / 0)._try(b"x")


def test_the_limits_are_the_documents():
    assert (MOST_SECONDS, MOST_BYTES) == (20, 2 << 30)


def test_seconds_of_the_processor_are_found():
    def compute(data, folder):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    with pytest.raises(AssertionError, match=r"took 0\.\d s"):
        _fuzzer(compute, most_seconds=0.04)._try(b"x")


@pytest.mark.parametrize(
    "most", [32 << 20, pytest.param(MOST_BYTES, marks=pytest.mark.large, id="two gigabytes")]
)
def test_too_much_memory_is_found(most, monkeypatch):
    """In the child of a fork, which gives it back at once."""
    monkeypatch.setattr("tests.fuzz.run.MOST_BYTES", most)
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        return
    try:
        _fuzzer(lambda data, folder: b"x" * (most + (16 << 20)))._try(b"x")
    except AssertionError as fault:
        os._exit(7 if str(fault).startswith("took ") else 1)
    finally:
        os._exit(2)


def test_what_never_ends_is_stopped_and_its_input_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 1
        assert (tmp_path / f"fuzz-input-{child}").read_bytes() == b"the input"
        return
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _fuzzer(lambda data, folder: time.sleep(600), most_wait=0.02)._try(b"the input")
    finally:
        os._exit(2)
