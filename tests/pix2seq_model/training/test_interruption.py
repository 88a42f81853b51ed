"""Stopping: a signal is noted, and all processes agree on the batch."""

import os
import signal

import numpy as np
import pytest

from pix2seq_model.training.interruption import StopAgreement, StopRequest
from pix2seq_model.training.replicas import Replicas


@pytest.fixture
def python_handles_interrupts():
    """A shell's background job inherits that Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_is_noted_once_and_the_handlers_come_back(python_handles_interrupts):
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as request:
        assert request.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert request.received == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_of_its_own_decides_alone():
    request = StopRequest()
    agreement = StopAgreement(request, Replicas(), first_batch=0)
    assert not agreement.is_agreed(1)
    request.received = "SIGTERM"
    assert agreement.is_agreed(2)


class _TwoProcesses(Replicas):
    """The other one was asked to stop, and is the slower."""

    def gather(self, values):
        return np.int32([values, [self.other_stops, 3]])


def test_processes_ask_each_other_now_and_then():
    replicas = _TwoProcesses(num_processes=2, num_devices=2)
    object.__setattr__(replicas, "other_stops", False)
    agreement = StopAgreement(StopRequest(), replicas, first_batch=0)
    agreement._asked_at += 3600  # No time has passed: it is fast, and would ask every 100.
    assert not agreement.is_agreed(1)
    object.__setattr__(replicas, "other_stops", True)
    assert [agreement.is_agreed(batch) for batch in (2, 3, 4)] == [False, False, True]
