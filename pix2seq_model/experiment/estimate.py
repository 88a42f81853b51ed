"""What training a stage on a machine takes: memory, time, price. Estimates; nothing is computed.

images a second = accelerators * peak * utilisation / operations of an image
hours = steps * batch / images a second / 3600
"""

import dataclasses
import math

from pix2seq_model.experiment.machines import Machine
from pix2seq_model.network.checkpointing import LAYERS, NONE, PRODUCTS
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_cache import step_costs
from pix2seq_model.training.step_costs import StepCosts

GIB = 2**30
# What JAX may take of an accelerator's memory (XLA_PYTHON_CLIENT_MEM_FRACTION), and what is left
# free of it: estimates were up to 4 % too low.
USABLE_FRACTION, HEADROOM = 0.92, 1.1
# Workspaces of cuDNN and cuBLAS: with them the peaks measured on an H100 come out.
_LIBRARIES = 0.75 * GIB
# Of the peak, with products in bfloat16, by what activation checkpointing computes again. Measured
# on an H100 at 640 px (docs/cloud.md) are a ViT with none and layers and a ResNet with none; a
# ViT's attention, random bits, normalisation and activation functions took a fifth of its step
# there, which is what "products" computes again. Other machines are assumed to reach the same.
_UTILISATION = {
    "vit": {NONE: 0.30, PRODUCTS: 0.25, LAYERS: 0.19},
    "resnet": {NONE: 0.12, PRODUCTS: 0.10, LAYERS: 0.08},
}
# Assumed: float32, and what eight accelerators of one machine do together.
_FLOAT32_UTILISATION, _TOGETHER = 0.35, 0.9
# Seconds of a core that an input image of 640 x 640 takes (benchmarks/README.md).
_INPUT_CORE_S, _INPUT_PIXELS = 5.4e-3, 640 * 640


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of a stage on a machine.

    Attributes:
      run: the stage.
      machine: where it trains.
      workers: so many of these machines share a batch.
      backend: of Keras.
      costs: of its step.
      operations: of an image in a step, without what activation checkpointing computes again.
    """

    run: TrainingRun
    machine: Machine
    workers: int = 1
    backend: str
    costs: StepCosts
    operations: float

    @property
    def images_per_device(self) -> int:
        """Of a batch, rounded up."""
        return math.ceil(self.run.settings.images_per_batch / self.devices)

    @property
    def devices(self) -> int:
        """That share a batch."""
        return self.machine.devices * self.workers

    @property
    def memory(self) -> dict[str, float]:
        """Bytes of one device by what takes them, at the peak of a step."""
        accumulated = self.run.settings.accumulation_steps > 1
        taken = self.costs.memory(self.images_per_device, accumulated=accumulated)
        return {**taken, "libraries": _LIBRARIES if self.machine.accelerator_count else 0.0}

    @property
    def memory_bytes(self) -> float:
        return sum(self.memory.values())

    @property
    def usable_bytes(self) -> float:
        return USABLE_FRACTION * self.machine.memory_gib * GIB

    @property
    def fits(self) -> bool:
        return self.memory_bytes * HEADROOM <= self.usable_bytes

    @property
    def utilisation(self) -> float:
        """The assumed share of the peak."""
        settings = self.run.settings
        of_network = _UTILISATION[self.run.model.backbone]
        share = of_network[settings.activation_checkpointing]
        if settings.precision == "float32" or not self.machine.accelerator_count:
            share = _FLOAT32_UTILISATION * share / of_network[NONE]
        return share * (_TOGETHER if self.devices > 1 else 1.0)

    @property
    def utilisation_from(self) -> str:
        """What `utilisation` rests on."""
        on_h100 = self.machine.name == "h100" and self.run.settings.precision != "float32"
        return "measured there at 640 px" if on_h100 else "assumed, from what an H100 reached"

    @property
    def images_per_s(self) -> float:
        peak = self.machine.peak_tflops[self.run.settings.precision] * 1e12
        return self.devices * peak * self.utilisation / self.operations

    @property
    def hours(self) -> float:
        settings = self.run.settings
        return settings.steps * settings.batch_size / self.images_per_s / 3600

    @property
    def price_usd(self) -> float | None:
        """None if the machine's price is unknown."""
        price = self.machine.price
        return None if price is None else self.hours * price.usd_per_hour * self.workers

    @property
    def input_images_per_s(self) -> float:
        """What the machines' cores prepare."""
        height, width = self.run.model.image_size
        seconds = _INPUT_CORE_S * height * width / _INPUT_PIXELS
        return self.workers * self.machine.host_cores / seconds


def estimate(
    run: TrainingRun, machine: Machine, *, workers: int = 1, backend: str = "jax"
) -> Estimate:
    """Estimates a stage on machines; traces its step, or takes an earlier trace.

    On TensorFlow and on TPUs there is no attention of cuDNN's; else a step is taken to be as JAX's
    is on a GPU.

    Raises:
      ConfigError: the step cannot be traced.
    """
    processor = machine.accelerator_count == 0
    flash = (
        backend == "jax"
        and machine.accelerator_type.startswith("NVIDIA")
        and run.settings.precision == "mixed_bfloat16"
    )
    how = {"flash_attention": flash, "processor": processor}
    costs = step_costs(run, **how)
    operations = costs.products.each
    if run.settings.activation_checkpointing != NONE:
        plain = dataclasses.replace(run.settings, activation_checkpointing=NONE)
        plain_run = dataclasses.replace(run, settings=plain)
        operations = step_costs(plain_run, **how).products.each
    return Estimate(
        run=run,
        machine=machine,
        workers=workers,
        backend=backend,
        costs=costs,
        operations=operations,
    )
