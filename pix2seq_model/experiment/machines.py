"""The machines that training can be estimated for: what they have, and what an hour of one costs.

Memory and peaks are those of the makers' data sheets (NVIDIA A100, H100 SXM, L4; Google's pages on
TPU v5e and v6e), machine types and cores those of Google's pages on accelerator-optimized machines
and on TPUs in GKE. On TPUs nothing was ever run. Prices are Compute Engine's list
prices of the whole machine in us-central1, in US dollars; what Vertex AI's training adds to them
could not be read. None: no price could be read.
"""

import dataclasses
from collections.abc import Mapping

_PRICE_LIST = (
    "https://github.com/Cyclenerd/google-cloud-pricing-cost-calculator/blob/"
    "0166a59ebba7c36f2cc8c931d9f258dcebc44776/pricing.yml"
)
_PRICE_PAGE = "https://cloud.google.com/products/compute/pricing/accelerator-optimized"


@dataclasses.dataclass(frozen=True)
class Price:
    """A list price.

    Attributes:
      usd_per_hour: of the machine with its accelerators.
      page, date: where it stood, and when.
      second_hand: it was not read there, but where that page was quoted.
    """

    usd_per_hour: float
    page: str
    date: str
    second_hand: bool = False

    @property
    def source(self) -> str:
        """Page and date in words."""
        quoted = ", second-hand: as quoted elsewhere" if self.second_hand else ""
        return f"{self.date}, {self.page}{quoted}"


_SUMMER = "September 2026"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine of Vertex AI's.

    Attributes:
      name: as in `cloud.training.preset`.
      machine_type, accelerator_type, accelerator_count: in Vertex AI's words; a count of 0 is none.
      memory_gib: of one accelerator; without any, of the machine.
      peak_tflops: dense products of one accelerator, or of all cores, by precision, a second.
      host_cores: virtual processor cores.
      price: None if unknown.
      tpu_topology: in Vertex AI's words, of a TPU, which has no accelerator type there.
      spot_only: Google offers it as a spot machine or with a flexible start alone.
    """

    name: str
    machine_type: str
    accelerator_type: str = ""
    accelerator_count: int = 0
    memory_gib: float
    peak_tflops: Mapping[str, float]
    host_cores: int
    price: Price | None = None
    tpu_topology: str = ""
    spot_only: bool = False

    @property
    def devices(self) -> int:
        """That share a batch."""
        return max(1, self.accelerator_count)


_A100 = {"mixed_bfloat16": 312.0, "float32": 19.5}
# XLA takes products of float32 numbers on a TPU in one pass of bfloat16.
_V5E = {"mixed_bfloat16": 197.0, "float32": 197.0}
_V6E = {"mixed_bfloat16": 918.0, "float32": 918.0}
_H100 = {"mixed_bfloat16": 989.4, "float32": 66.9}

_ALL = (
    Machine(
        name="a100-40gb",
        machine_type="a2-highgpu-1g",
        accelerator_count=1,
        host_cores=12,
        price=Price(3.673385, _PRICE_LIST, "6 March 2025"),
        accelerator_type="NVIDIA_TESLA_A100",
        memory_gib=40.0,
        peak_tflops=_A100,
    ),
    Machine(
        name="a100-40gb-x8",
        machine_type="a2-highgpu-8g",
        accelerator_count=8,
        host_cores=96,
        price=Price(29.38708, _PRICE_LIST, "6 March 2025"),
        accelerator_type="NVIDIA_TESLA_A100",
        memory_gib=40.0,
        peak_tflops=_A100,
    ),
    Machine(
        name="a100-80gb",
        machine_type="a2-ultragpu-1g",
        accelerator_count=1,
        host_cores=12,
        price=Price(5.06879789, _PRICE_PAGE, _SUMMER, second_hand=True),
        accelerator_type="NVIDIA_A100_80GB",
        memory_gib=80.0,
        peak_tflops=_A100,
    ),
    Machine(
        name="a100-80gb-x8",
        machine_type="a2-ultragpu-8g",
        accelerator_count=8,
        host_cores=96,
        price=Price(40.5503831, _PRICE_LIST, "6 March 2025"),
        accelerator_type="NVIDIA_A100_80GB",
        memory_gib=80.0,
        peak_tflops=_A100,
    ),
    Machine(
        name="h100",
        machine_type="a3-highgpu-1g",
        accelerator_count=1,
        host_cores=26,
        price=Price(11.0612500, _PRICE_LIST, "6 March 2025"),
        spot_only=True,
        accelerator_type="NVIDIA_H100_80GB",
        memory_gib=79.6,
        peak_tflops=_H100,
    ),
    Machine(
        name="h100-x8",
        machine_type="a3-highgpu-8g",
        accelerator_count=8,
        host_cores=208,
        price=Price(88.4900001, _PRICE_PAGE, _SUMMER, second_hand=True),
        accelerator_type="NVIDIA_H100_80GB",
        memory_gib=79.6,
        peak_tflops=_H100,
    ),
    Machine(
        name="l4",
        machine_type="g2-standard-4",
        accelerator_type="NVIDIA_L4",
        accelerator_count=1,
        memory_gib=22.5,
        peak_tflops={"mixed_bfloat16": 121.0, "float32": 30.3},
        host_cores=4,
        price=Price(0.706832276, _PRICE_PAGE, _SUMMER, second_hand=True),
    ),
    Machine(
        name="v5e-8",
        machine_type="ct5lp-hightpu-8t",
        accelerator_count=8,
        tpu_topology="2x4",
        memory_gib=14.9,
        peak_tflops=_V5E,
        host_cores=224,
    ),
    Machine(
        name="v6e-8",
        machine_type="ct6e-standard-8t",
        accelerator_count=8,
        tpu_topology="2x4",
        memory_gib=29.8,
        peak_tflops=_V6E,
        host_cores=180,
    ),
    Machine(
        name="cpu",
        machine_type="n2-standard-16",
        memory_gib=64.0,
        # Eight cores of 2.6 GHz, two fused products of 16 numbers a cycle: a bound, not a measure.
        peak_tflops={"mixed_bfloat16": 1.3, "float32": 1.3},
        host_cores=16,
    ),
)
MACHINES: Mapping[str, Machine] = {machine.name: machine for machine in _ALL}
# Of `cloud.training`, what a preset sets.
MACHINE_FIELDS = ("machine_type", "accelerator_type", "accelerator_count", "tpu_topology")
# What `cloud.training.preset` may be besides a machine's name.
AUTO, NO_PRESET = "auto", "none"
_ONE, _EIGHT = "a100-40gb", "a100-40gb-x8"


def default_machine(*, pretrains: bool) -> Machine:
    """What `AUTO` stands for: pretraining takes weeks on a single GPU."""
    return MACHINES[_EIGHT if pretrains else _ONE]


def machine_of(machine_type: str, accelerator_count: int) -> Machine | None:
    """The machine of a type with so many accelerators; None if it is not in the list."""
    for machine in _ALL:
        if (machine.machine_type, machine.accelerator_count) == (machine_type, accelerator_count):
            return machine
    return None
