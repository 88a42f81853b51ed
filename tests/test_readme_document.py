"""The README's table of networks, and its first page for one's own photographs."""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.recorded_steps import from_record, published_run
from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment.estimate import GIB, estimate
from pix2seq_model.experiment.machines import MACHINES
from pix2seq_model.network.config import PUBLISHED_NAMES
from pix2seq_model.published.results import COCO_AP

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _networks():
    """The cells of each row of the table by the network's name in configs."""
    section = README.partition("## Which network\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:3] == "| `"]
    return {re.match(r"`(\w+)`", row[0])[1]: row[1:] for row in rows[1:]}


def test_every_published_network_is_there():
    assert list(_networks()) == list(PUBLISHED_NAMES)


@pytest.mark.parametrize("network", PUBLISHED_NAMES)
def test_computed_columns(network):
    parameters, memory, _, _, ap = _networks()[network]
    run = published_run(network, 640)
    assert run.settings.batch_size == 32
    with from_record():
        found = estimate(run, MACHINES["h100"])
        costs = estimates.step_costs(run, flash_attention=True, processor=False)
    assert parameters == f"{costs.parameters / 1e6:.1f} M"
    assert memory == f"{found.memory_bytes / GIB:.1f} GiB"
    assert ap == " / ".join(f"{COCO_AP[network][side]:.1f}" for side in (640, 1024, 1333))


def test_the_memory_column_is_that_of_the_page_of_estimates():
    page = (ROOT / "docs/estimates.md").read_text()
    for network, (_, memory, *_) in _networks().items():
        assert f"| {network} | 640 | h100 | yes | {memory.removesuffix(' GiB')} |" in page


def test_the_times_are_those_of_the_benchmarks():
    """A cell is a time that the benchmarks have, or says that there is none."""
    page = (ROOT / "benchmarks/README.md").read_text()
    rows = re.findall(r"^\| (\w+) \| 1 \| .* \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    measured = {name: f"{float(whole):.1f} s; {float(half):.1f} s" for name, whole, half in rows}
    assert {network: cells[2] for network, cells in _networks().items()} == measured
    on_gpu = {network: cells[3] for network, cells in _networks().items()}
    assert on_gpu.pop("vit_b") == "158 ms; 12 ms in 32s"
    assert "| 1 | 5.5 | 152.8 | 6.3 | 0.45 |" in page
    assert "| 32 | 82.8 | 323.0 | 84.1 | 1.3 |" in page  # 1000 / 84.1: 12 ms.
    assert set(on_gpu.values()) == {"not measured"}


def test_the_first_page_has_five_commands_that_are_there():
    section = README.partition("## Your own photographs\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    follow, split = (
        [shlex.split(line) for line in block.replace("\\\n", "").splitlines()] for block in blocks
    )
    assert (len(follow), len(split)) == (4, 1)
    for interpreter, command, *_ in follow + split:
        assert interpreter == "python"
        assert (ROOT / command).is_file()
    # Among the others it would deal out again the splits that are there.
    assert split[0][1] == "pipelines/split_dataset.py"
    assert "`photos` is" in section
