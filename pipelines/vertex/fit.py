"""Whether the training stages fit on their machines, and end before their time is up."""

import math
from collections.abc import Iterator

from pipelines.keras_backend import keras_backend
from pipelines.request import Request
from pipelines.vertex.findings import Finding
from pix2seq_model.experiment import presets
from pix2seq_model.experiment.estimate import GIB, Estimate, estimate
from pix2seq_model.experiment.machines import MACHINES, machine_of
from pix2seq_model.experiment.validation import training_run


def check_fit(request: Request) -> Iterator[Finding]:
    """Estimates each training stage on the config's machine; see `pipelines/estimate.py`."""
    wanted = request.config.cloud.training
    machine = machine_of(wanted.machine_type, wanted.accelerator_count)
    where = {"workers": wanted.worker_count, "backend": keras_backend()}
    usd = 0.0
    for stage in request.training_stages:
        if stage not in request.needed:
            continue
        if machine is None:
            yield Finding(
                what=f"{stage}: whether it fits on {wanted.accelerator_count} accelerators of a "
                f"{wanted.machine_type} is not known; known are {', '.join(MACHINES)}",
                fix="--config.cloud.training.preset=NAME takes one of these",
                blocks=False,
            )
            continue
        found = estimate(training_run(request.config, stage), machine, **where)
        usd += math.nan if found.price_usd is None else found.price_usd
        if not found.fits:
            yield Finding(
                what=f"{stage} does not fit: about {found.memory_bytes / GIB:.1f} GiB a device, "
                f"{machine.name} has {found.usable_bytes / GIB:.1f} to use",
                fix=what_fits(found),
            )
        elif found.hours > 24 * wanted.max_days:
            days = math.ceil(found.hours / 24 * presets.DAYS_FACTOR)
            yield Finding(
                what=f"{stage} takes about {found.hours / 24:.1f} days, and is stopped after "
                f"cloud.training.max_days={wanted.max_days:g}",
                fix=f"--config.cloud.training.max_days={days}, or a larger machine",
            )
    budget = request.config.cloud.budget_usd
    if budget and not usd <= budget:
        unknown = math.isnan(usd)
        price = "an unknown price" if unknown else f"about {usd:,.0f} US dollars by list price"
        yield Finding(
            what=f"training takes {price}, and cloud.budget_usd={budget:g}",
            fix="a higher --config.cloud.budget_usd, fewer steps or another machine",
            blocks=not unknown,
        )


def what_fits(found: Estimate) -> str:
    """The flags with which a stage fits that does not."""
    run, stage = found.run, found.run.stage
    fitting = presets.fitting(run, found.machine, workers=found.workers, backend=found.backend)
    if fitting is not None:
        changed = {
            name: getattr(fitting.run.settings, name)
            for name in presets.STAGE_FIELDS
            if getattr(fitting.run.settings, name) != getattr(run.settings, name)
        }
        return " ".join(f"--config.{stage}.{name}={value}" for name, value in changed.items())
    for machine in MACHINES.values():
        if machine.accelerator_count and machine.memory_gib > found.machine.memory_gib:
            larger = presets.fitting(run, machine, workers=found.workers, backend=found.backend)
            if larger is not None:
                return f"--config.cloud.training.preset={machine.name}"
    return f"a smaller --config.{stage}.image_size or --config.{stage}.batch_size"
