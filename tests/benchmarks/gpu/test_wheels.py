"""The packages of the machine with a GPU are pinned as those of this one."""

from pathlib import Path

import pytest

from benchmarks.gpu.wheels import main, pins

PINS = Path(__file__).parents[3] / "requirements/runtime.txt"


def test_all_are_pinned():
    found = pins(PINS.read_text())
    assert any(pin.startswith("keras==3.") for pin in found)
    assert not any(pin.startswith(("tensorflow", "jax", "numpy")) for pin in found)


def test_a_package_without_a_pin_is_named():
    with pytest.raises(ValueError, match=r"pins no .*optree"):
        pins("keras==3.15.1\netils[epath]==1.15.0\n")


def test_what_pip_is_told(tmp_path, monkeypatch):
    commands = []

    def run(command):
        commands.append(command)
        return type("Done", (), {"returncode": 3})

    monkeypatch.setattr("benchmarks.gpu.wheels.subprocess.run", run)
    assert main(["--python=3.13", f"--output={tmp_path}"]) == 3
    assert "--python-version=3.13" in commands[0]
    assert "--no-deps" in commands[0]
