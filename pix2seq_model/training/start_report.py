"""What a training says at its start of how it computes: device, precision, XLA, attention."""

import dataclasses
import math
from collections.abc import Callable

import keras

from pix2seq_model.accelerators import Devices, local_devices
from pix2seq_model.errors import ConfigError
from pix2seq_model.network.attention_kind import attention_kind
from pix2seq_model.network.checkpointing import NONE
from pix2seq_model.training.replicas import Replicas
from pix2seq_model.training.settings import TrainingRun
from pix2seq_model.training.step_cache import step_costs
from pix2seq_model.training.step_costs import StepCosts
from pix2seq_model.training.training_step import compiles

_GB = 1e9
_BFLOAT16 = "mixed_bfloat16"
_WITH_BFLOAT16 = (8, 0)  # NVIDIA's compute capability; GPUs before it have no such products.


def say_what_runs(
    run: TrainingRun, *, replicas: Replicas, say: Callable[[str], None] | None
) -> None:
    """Tells how a run computes on this machine; in float32 on a GPU, what bfloat16 would save.

    The latter is found by tracing the step, some ten seconds of a processor for each precision the
    first time, which is nothing next to a training in float32.

    Args:
      run: to be trained.
      replicas: that share its batches.
      say: told one line after the other; None tells nobody.
    """
    if say is None:
        return
    backend, devices = keras.backend.backend(), local_devices()
    is_compiled = compiles(run.settings.jit_compile)
    for line in what_runs(run, backend=backend, devices=devices, is_compiled=is_compiled):
        say(line)
    is_new_enough = (devices.compute_capability or (0, 0)) >= _WITH_BFLOAT16
    if is_new_enough and run.settings.precision == "float32":
        say(_saving(run, backend=backend, devices=devices, sharing=replicas.num_devices))


def what_runs(run: TrainingRun, *, backend: str, devices: Devices, is_compiled: bool) -> list[str]:
    """Lines that say on what, in which precision and with which kernels a run computes.

    Args:
      run: to be trained.
      backend: of Keras.
      devices: of this process.
      is_compiled: whether its step is compiled by XLA.
    """
    settings, again = run.settings, ""
    attention = attention_kind(
        run.model, backend=backend, devices=devices, precision=settings.precision
    )
    if settings.activation_checkpointing != NONE:
        again = f", activation_checkpointing={settings.activation_checkpointing}"
    kernels = "compiled by XLA" if is_compiled else "not compiled by XLA"
    return [
        f"{run.stage} computes on {devices.text()} with {backend} in {settings.precision}, "
        f"{kernels} (jit_compile={settings.jit_compile}){again}.",
        f"{run.stage} attends with: {attention.text()}.",
    ]


def bfloat16_saving(
    run: TrainingRun, *, float32: StepCosts, bfloat16: StepCosts, sharing: int, flash: bool
) -> str:
    """What a run in float32 would save in bfloat16.

    Args:
      run: in float32.
      float32, bfloat16: what its step takes in each.
      sharing: so many devices, of all machines, share a batch.
      flash: whether bfloat16 would bring flash attention.
    """
    images = math.ceil(run.settings.images_per_batch / sharing)
    accumulated = run.settings.accumulation_steps > 1
    kept = [costs.peak(images).each / _GB for costs in (float32, bfloat16)]
    whole = [
        sum(costs.memory(images, accumulated=accumulated).values()) / _GB
        for costs in (float32, bfloat16)
    ]
    attention = "with flash attention, " if flash else ""
    return (
        f"{run.stage}.precision={_BFLOAT16} would save memory: {attention}an image keeps "
        f"{kept[1]:.2f} GB of activations instead of {kept[0]:.2f}, and a device with {images} "
        f"images {whole[1]:.1f} GB in all instead of {whole[0]:.1f} (estimated by tracing the "
        "step, without what the libraries take). The peak of its products is at least twice that "
        "of float32, too."
    )


def _saving(run: TrainingRun, *, backend: str, devices: Devices, sharing: int) -> str:
    settings = dataclasses.replace(run.settings, precision=_BFLOAT16)
    other = dataclasses.replace(run, settings=settings)
    kinds = [
        attention_kind(run.model, backend=backend, devices=devices, precision=precision)
        for precision in ("float32", _BFLOAT16)
    ]
    try:
        costs = [
            step_costs(each, flash_attention=kind.is_flash, processor=False)
            for each, kind in zip((run, other), kinds, strict=True)
        ]
    except ConfigError as error:
        return f"{run.stage}.precision={_BFLOAT16} would save memory and time; how much: {error}"
    return bfloat16_saving(
        run,
        float32=costs[0],
        bfloat16=costs[1],
        sharing=sharing,
        flash=kinds[1].is_flash,
    )
