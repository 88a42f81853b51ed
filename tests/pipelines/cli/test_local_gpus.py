"""The GPUs that the driver names, and those of them that a process may use."""

import subprocess

import pytest

from pipelines.cli import local_gpus as module
from pipelines.cli.local_gpus import Gpu, local_gpus

MIB = 2**20
L4, H100 = Gpu("NVIDIA L4", 23_034 * MIB), Gpu("NVIDIA H100 80GB HBM3", 81_559 * MIB)
SAID = "0, GPU-1a2b, 23034, [N/A], NVIDIA L4\n1, GPU-1c3d, 81559, Disabled, NVIDIA H100 80GB HBM3\n"


def driver(monkeypatch, said, *, status=0):
    def answers(command, **_):
        return subprocess.CompletedProcess(command, status, stdout=said)

    monkeypatch.setattr(module.subprocess, "run", answers)


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, (L4, H100)),
        ("0,1", (L4, H100)),
        ("1", (H100,)),
        ("GPU-1c", (H100,)),
        ("GPU-1", ()),  # Of both.
        ("1,7,0", (H100,)),
        ("", ()),
        ("-1", ()),
        ("MIG-5e6f", ()),
    ],
)
def test_those_that_may_be_seen(monkeypatch, visible, gpus):
    driver(monkeypatch, SAID)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local_gpus() == gpus


def test_a_driver_that_does_not_say(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver(monkeypatch, "0, GPU-1a2b, [N/A], [N/A], NVIDIA GB10\n")
    assert local_gpus() == ()
    driver(monkeypatch, "0, GPU-1a2b, 81559, Enabled, NVIDIA H100 80GB HBM3\n")
    assert local_gpus() == ()  # Divided: who uses it has a part of that memory.
    driver(monkeypatch, "NVIDIA-SMI has failed, because, it, could not\n", status=9)
    assert local_gpus() == ()
    for error in (FileNotFoundError("nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 20)):

        def fails(*_, error=error, **__):
            raise error

        monkeypatch.setattr(module.subprocess, "run", fails)
        assert local_gpus() == ()
