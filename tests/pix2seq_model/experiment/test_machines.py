"""The list of machines holds together."""

import pytest
from google.cloud.aiplatform_v1.types import MachineSpec

from pix2seq_model.experiment.machines import MACHINES, default_machine, machine_of
from pix2seq_model.experiment.settings import TrainingMachines


@pytest.mark.parametrize("machine", MACHINES.values(), ids=list(MACHINES))
def test_every_machine(machine):
    assert machine_of(machine.machine_type, machine.accelerator_count) is machine
    kinds = (machine.accelerator_type, machine.tpu_topology)
    assert sum(map(bool, kinds)) == bool(machine.accelerator_count)
    assert machine.devices == (machine.accelerator_count or 1)
    if machine.price is not None:
        assert machine.price.page.startswith("https://")
        assert machine.price.date
        assert machine.price.source.startswith(f"{machine.price.date}, {machine.price.page}")
        assert machine.price.second_hand == ("quoted" in machine.price.source)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=list(MACHINES))
def test_vertex_ai_knows_its_words(machine):
    words = {"accelerator_type": machine.accelerator_type, "tpu_topology": machine.tpu_topology}
    spec = MachineSpec(machine_type=machine.machine_type, **{k: v for k, v in words.items() if v})
    assert spec.accelerator_type.name == machine.accelerator_type or not machine.accelerator_type
    if machine.tpu_topology:
        rows, columns = map(int, machine.tpu_topology.split("x"))
        assert rows * columns == machine.accelerator_count


def test_the_defaults_of_the_settings_are_the_default_machine():
    settings, machine = TrainingMachines(), default_machine(pretrains=False)
    assert settings.machine_type == machine.machine_type
    assert settings.accelerator_type == machine.accelerator_type
    assert settings.accelerator_count == machine.accelerator_count


def test_a_machine_that_is_not_in_the_list():
    assert machine_of("a2-highgpu-1g", 8) is None
