"""The machine of a training on Vertex AI, and how each stage is trained on it (`preset`).

Settled once, where a command is given, as the recipes are. A stage keeps its batch: where that does
not fit, it is taken in parts (`accumulation_steps`), or activations are computed again. What is
given, and what the config itself sets to something else than the default, stays.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.estimate import Estimate, estimate
from pix2seq_model.experiment.loading import load_config
from pix2seq_model.experiment.machines import (
    AUTO,
    MACHINE_FIELDS,
    MACHINES,
    NO_PRESET,
    Machine,
    default_machine,
    machine_of,
)
from pix2seq_model.experiment.settings import SPOT, TrainingMachines
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.network.checkpointing import WAYS
from pix2seq_model.training.settings import StageSettings, TrainingRun

# Of a stage, what a preset sets.
STAGE_FIELDS = ("precision", "activation_checkpointing", "accumulation_steps")
# Fewer images on a device than this leave it idle; more parts than this are not tried.
_FEWEST_IMAGES, _MOST_PARTS = 4, 16
# The limit of a job against the estimate of its longest stage, and the least, in days.
DAYS_FACTOR, _FEWEST_DAYS = 2.0, 1.0


def settle_machine(
    name: str,
    overrides: Sequence[str],
    *,
    given: Collection[str],
    stages: Sequence[str],
    backend: str = "jax",
) -> tuple[ConfigDict, list[str], list[str]]:
    """Loads a config with what its preset says.

    Args:
      name: of the config.
      overrides: with which it is loaded: the user's, and what recipes say.
      given: settings that the user gave.
      stages: that are trained.
      backend: of Keras.

    Returns:
      The config; overrides with which `load_config` gives it again; lines for the user.

    Raises:
      ConfigError: the config cannot be loaded, or no step of it traced.
    """
    config = load_config(name, overrides)
    preset = config.cloud.training.preset
    machine = chosen_machine(config, given=given, stages=stages)
    if preset == NO_PRESET or machine is None or not stages:
        return config, [*overrides], []
    where = {"workers": config.cloud.training.worker_count, "backend": backend}
    wanted: dict[str, Any] = {
        f"cloud.training.{field}": getattr(machine, field) for field in MACHINE_FIELDS
    }
    if machine.spot_only:
        wanted["cloud.training.strategy"] = SPOT
    if machine.tpu_topology:  # An image has libtpu or CUDA, and the evaluation runs in it too.
        wanted["cloud.evaluation.accelerator_count"] = 0
    estimates = []
    for stage in stages:
        run = training_run(config, stage)
        try:
            found = fitting(run, machine, kept=_kept(config, stage, given), **where)
            estimates.append(found or estimate(run, machine, **where))
        except ConfigError as error:
            raise ConfigError(
                f"{error} --config.cloud.training.preset={NO_PRESET} takes the machine that the "
                "config names, and estimates nothing."
            ) from error
        for field in STAGE_FIELDS:
            wanted[f"{stage}.{field}"] = getattr(estimates[-1].run.settings, field)
    days = max(found.hours for found in estimates) / 24
    wanted["cloud.training.max_days"] = float(max(_FEWEST_DAYS, math.ceil(days * DAYS_FACTOR)))
    settled = [
        f"{key}={value}"
        for key, value in wanted.items()
        if key not in given and _value(config, key) != value
    ]
    notes = [f"machine {machine.name} (cloud.training.preset={preset}):"]
    both = [*settled, *overrides]
    return load_config(name, both), both, [*notes, *(f"  {line}" for line in settled)]


def chosen_machine(
    config: ConfigDict, *, given: Collection[str] = (), stages: Sequence[str]
) -> Machine | None:
    """The machine of a preset, or that of the settings if these say one; None if it is unknown.

    Args:
      config: the experiment.
      given: settings that the user gave; a preset among them goes before what the config says.
      stages: that are trained.
    """
    training, default = config.cloud.training, TrainingMachines()
    if "cloud.training.preset" in given and training.preset in MACHINES:
        return MACHINES[training.preset]
    own = any(
        f"cloud.training.{field}" in given or training[field] != getattr(default, field)
        for field in MACHINE_FIELDS
    )
    if training.preset == NO_PRESET or own:
        return machine_of(training.machine_type, training.accelerator_count)
    if training.preset != AUTO:
        return MACHINES[training.preset]
    return default_machine(pretrains="pretrain" in stages)


def fitting(
    run: TrainingRun,
    machine: Machine,
    *,
    kept: Collection[str] = (),
    workers: int = 1,
    backend: str = "jax",
) -> Estimate | None:
    """The fastest way to train a stage on machines with its batch; None if none fits.

    Args:
      run: the stage.
      machine: where.
      kept: names of settings that stay as they are.
      workers, backend: see `estimate`.
    """
    devices = machine.devices * workers
    precision = "mixed_bfloat16" if machine.accelerator_count else "float32"
    settings = run.settings
    if "precision" not in kept:
        settings = dataclasses.replace(settings, precision=precision)
    for way in _ways(settings, devices=devices, backbone=run.model.backbone, kept=kept):
        run = dataclasses.replace(run, settings=way)
        found = estimate(run, machine, workers=workers, backend=backend)
        if found.fits:
            return found
    return None


def _ways(
    settings: StageSettings, *, devices: int, backbone: str, kept: Collection[str]
) -> Iterator[StageSettings]:
    """Settings with the same batch, the fastest first."""
    parts = [settings.accumulation_steps]
    if "accumulation_steps" not in kept:
        per_device = settings.batch_size / devices
        parts = [
            2**power
            for power in range(int(math.log2(_MOST_PARTS)) + 1)
            if settings.batch_size % (2**power * devices) == 0
            and (power == 0 or per_device / 2**power >= _FEWEST_IMAGES)
        ] or [1]
    recomputing = [settings.activation_checkpointing]
    if "activation_checkpointing" not in kept:
        recomputing = [*WAYS]
    ways = [(again, count) for again in recomputing for count in parts]
    if backbone == "resnet":
        # Its statistics are those of a batch: parts of it train otherwise.
        ways.sort(key=operator.itemgetter(1))
    for again, count in ways:
        yield dataclasses.replace(
            settings, activation_checkpointing=again, accumulation_steps=count
        )


def _kept(config: ConfigDict, stage: str, given: Collection[str]) -> set[str]:
    """The settings that a preset leaves alone."""
    default = StageSettings()
    return {
        field
        for field in STAGE_FIELDS
        if f"{stage}.{field}" in given or config[stage][field] != getattr(default, field)
    }


def _value(config: ConfigDict, key: str) -> Any:
    return functools.reduce(operator.getitem, key.split("."), config)
