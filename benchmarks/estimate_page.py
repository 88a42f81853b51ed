"""The page of estimates: what the published trainings take on five machines."""

import dataclasses
import functools
from collections.abc import Iterator

from benchmarks.recorded_steps import from_record, published_run, recorded
from configs.coco_finetune import SIZES
from pix2seq_model.experiment import load_config
from pix2seq_model.experiment.estimate import GIB, Estimate, estimate
from pix2seq_model.experiment.machines import MACHINES, Machine
from pix2seq_model.experiment.presets import fitting
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.network.checkpointing import LAYERS, NONE
from pix2seq_model.network.config import PUBLISHED_NAMES
from pix2seq_model.training.settings import TrainingRun

_MACHINES = ("l4", "a100-40gb", "a100-40gb-x8", "h100", "h100-x8")

_HEAD = """\
# What the published trainings take

**Estimates, nothing of this page was measured**, made by

    python benchmarks/estimates.py --write=docs/estimates.md

from the steps' traces in `tests/data/estimates`. `pipelines/estimate.py` prints the same for any
config and machine, part by part; [cloud.md](cloud.md#the-machine-of-a-training) says what the
figures rest on, [benchmarks](../benchmarks/README.md#estimates) how near they come to what was
measured.

    images a second = devices × peak × utilisation / operations of an image
    hours           = steps × batch / images a second / 3600
    price           = hours × list price of the machine

Evaluation, conversion, start-up, storage and what Vertex AI's training adds come on top. In
bfloat16 on JAX, with the batch of the recipe: it fits as a whole or in *parts*
(`accumulation_steps`), with activations that are kept or computed *again*
(`activation_checkpointing`).
"""

_FINE_TUNING = """
## Fine-tuning on COCO

{steps:,} steps of {batch}, 40 epochs, for every network and size. GiB are those of one device.
"""

_STAGES = """
## Both published stages

Pretraining on Objects365, {steps:,} steps of {batch} at 640 px, and fine-tuning on COCO as above at
640 px.
"""

_PRICES = """
## Prices

List prices of the whole machine in us-central1, US dollars an hour. What Vertex AI's training adds
to them could not be read. A single H100 is offered as a spot machine or with a flexible start
alone.
"""


def page() -> str:
    """In Markdown, from the recorded steps."""
    fine, pretrained = published_run("vit_b", 640), _pretraining("vit_b")
    with from_record():
        return "\n".join(
            [
                _HEAD + _FINE_TUNING.format(**_length(fine)),
                *_table("network px machine fits,\\ how GiB images/s hours US\\ dollars", _fine()),
                _STAGES.format(**_length(pretrained)),
                *_table(
                    "network machine pretraining,\\ how days US\\ dollars fine-tuning,\\ hours "
                    "US\\ dollars",
                    _both(),
                ),
                _PRICES,
                *_table("machine type price from", _prices()),
                f"\nTraced with {recorded()['code'].partition(', ')[2]}.\n",
            ]
        )


def _length(run: TrainingRun) -> dict[str, int]:
    return {"steps": run.settings.steps, "batch": run.settings.batch_size}


@functools.cache
def _pretraining(network: str) -> TrainingRun:
    name = f"configs/objects365_pretrain.py:{network}"
    config = load_config(name, ["pretrain.precision=mixed_bfloat16"], stage="pretrain")
    return training_run(config, "pretrain")


def _fine() -> Iterator[list[str]]:
    for network in PUBLISHED_NAMES:
        for size in SIZES:
            for name in _MACHINES:
                found = _found(published_run(network, size), MACHINES[name])
                hours = _short(found.hours)
                yield [
                    network,
                    str(size),
                    name,
                    _how(found),
                    *_memory_speed(found),
                    hours,
                    _usd(found),
                ]


def _both() -> Iterator[list[str]]:
    for network in PUBLISHED_NAMES:
        for name in _MACHINES:
            before = _found(_pretraining(network), MACHINES[name])
            after = _found(published_run(network, 640), MACHINES[name])
            days = f"{before.hours / 24:,.1f}"
            cells = [_how(before), days, _usd(before), _short(after.hours), _usd(after)]
            yield [network, name, *cells]


def _prices() -> Iterator[list[str]]:
    for name in _MACHINES:
        machine = MACHINES[name]
        price = "unknown" if machine.price is None else f"{machine.price.usd_per_hour:.2f}"
        source = "" if machine.price is None else machine.price.source
        yield [name, machine.machine_type, price, source]


def _found(run: TrainingRun, machine: Machine) -> Estimate:
    """The way that the presets choose, or the least memory of all if nothing fits."""
    found = fitting(run, machine)
    if found is None:
        settings = dataclasses.replace(run.settings, activation_checkpointing=LAYERS)
        found = estimate(dataclasses.replace(run, settings=settings), machine)
    return found


def _how(found: Estimate) -> str:
    settings = found.run.settings
    parts = [f"{settings.accumulation_steps} parts"] if settings.accumulation_steps > 1 else []
    way = settings.activation_checkpointing
    again = [] if way == NONE else [f"{way} again" if way == LAYERS else "all but products again"]
    return ("yes" if found.fits else "**no**") + "".join(f", {way}" for way in parts + again)


def _memory_speed(found: Estimate) -> list[str]:
    return [f"{found.memory_bytes / GIB:.1f}", f"{found.images_per_s:,.0f}"]


def _short(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"


def _usd(found: Estimate) -> str:
    return "unknown" if found.price_usd is None else f"{found.price_usd:,.0f}"


def _table(names: str, rows: Iterator[list[str]]) -> list[str]:
    """Lines of a table; in `names` a space inside a column's name is written with a backslash."""
    columns = [name.replace("\\", " ") for name in names.replace("\\ ", "\\").split()]
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
