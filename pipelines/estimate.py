"""What training takes on a machine, before anything is paid: memory, speed, time, price.

    python pipelines/estimate.py --config=configs/coco_finetune.py:vit_b,640
    python pipelines/estimate.py --config=configs/full.py:vit_l,640 --machine=h100-x8
    python pipelines/estimate.py --config=configs/coco_finetune.py:vit_b,640 --machine=all

Nothing is computed: the step is traced for the sizes of its arrays, which takes some ten seconds
the first time. Exits with status 1 if a stage does not fit. Without --machine it is the one that
`cloud.training.preset` and the other settings of `cloud.training` name.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

from collections.abc import Sequence

from absl import flags

from pipelines.cli.command_line import run_command, split_overrides
from pipelines.cli.config_flag import config_given
from pipelines.cli.machine import settle_on_machine
from pipelines.cli.own_data import load_submission
from pipelines.keras_backend import keras_backend
from pipelines.request import Request
from pipelines.vertex.fit import what_fits
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.estimate import GIB, Estimate, estimate
from pix2seq_model.experiment.loading import read_config
from pix2seq_model.experiment.machines import MACHINE_FIELDS, MACHINES, machine_of
from pix2seq_model.experiment.recipes import load_with_recipes
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.network.checkpointing import NONE
from pix2seq_model.training.settings import STAGES

FLAGS = flags.FLAGS
_ALL = "all"

flags.DEFINE_string("machine", "", f"{_ALL}, or one of {', '.join(MACHINES)}; empty: the config's")


def main(arguments: list[str]) -> int:
    config_file = config_given()
    overrides, more = split_overrides(arguments)
    if more:
        raise ConfigError(f"there is no flag {more[0]}")
    if FLAGS.machine not in ("", _ALL, *MACHINES):
        raise ConfigError(f"--machine={FLAGS.machine} is none of {', '.join(('all', *MACHINES))}.")
    names = list(MACHINES) if FLAGS.machine == _ALL else [FLAGS.machine]
    found = [one for name in names for one in _estimates(config_file, overrides, name)]
    print("\n".join(_page(one) for one in found))
    return 0 if FLAGS.machine == _ALL or all(one.fits for one in found) else 1


def _estimates(config_file: str, overrides: Sequence[str], machine_name: str) -> list[Estimate]:
    """Of the stages of the config, on a machine or on the one that it names."""
    if machine_name:
        own = tuple(f"cloud.training.{field}=" for field in (*MACHINE_FIELDS, "preset"))
        overrides = [o for o in overrides if not o.startswith(own)]
        overrides.append(f"cloud.training.preset={machine_name}")
    given = {override.partition("=")[0] for override in overrides}
    if any(read_config(config_file, overrides)[stage].epochs for stage in STAGES):
        submission = load_submission(config_file, overrides)  # Looks at the data for the steps.
        config, resolved = submission.config, list(submission.overrides)
    else:
        config, resolved, _ = load_with_recipes(config_file, overrides)
    stages = Request(config=config, config_name="", pipeline_root="").training_stages
    config, _ = settle_on_machine(config_file, config, resolved, given=given, stages=stages)
    training = config.cloud.training
    machine = machine_of(training.machine_type, training.accelerator_count)
    if machine is None:
        raise ConfigError(
            f"cloud.training.machine_type={training.machine_type} with accelerator_count="
            f"{training.accelerator_count} is not known here: give --machine, one of "
            f"{', '.join(MACHINES)}."
        )
    where = {"workers": training.worker_count, "backend": keras_backend()}
    return [estimate(training_run(config, stage), machine, **where) for stage in stages]


def _page(found: Estimate) -> str:
    """An estimate for people."""
    run, machine, settings = found.run, found.machine, found.run.settings
    height, width = run.model.image_size
    way = settings.activation_checkpointing
    again = "" if way == NONE else f", activations computed again ({way})"
    parts = f" in {settings.accumulation_steps} parts" if settings.accumulation_steps > 1 else ""
    memory = [f"    {name:<30}{size / GIB:7.2f}" for name, size in found.memory.items() if size]
    peak = machine.peak_tflops[settings.precision]
    fit = "yes" if found.fits else f"no; what fits: {what_fits(found)}"
    price = "unknown: no list price could be read"
    if machine.price is not None and found.price_usd is not None:
        price = (
            f"{found.price_usd:,.0f} US dollars at {machine.price.usd_per_hour:.2f} an hour, list "
            f"price of the machine ({machine.price.source})"
        )
    rows = {
        "trained": f"{found.costs.parameters / 1e6:.1f} million weights, {settings.precision}, "
        f"{found.backend}, {height} x {width} px{again}",
        "batch": f"{settings.batch_size}{parts}, {found.images_per_device} at a time on a device",
        "memory": f"{found.memory_bytes / GIB:.1f} GiB a device, of {found.usable_bytes / GIB:.1f} "
        f"that can be used of {machine.memory_gib:g}\n" + "\n".join(memory),
        "fits": fit,
        "operations": f"{found.operations / 1e12:.3f} TFLOP an image",
        "speed": f"{found.images_per_s:,.0f} images/s, if {found.utilisation:.0%} of "
        f"{found.devices} x {peak:g} TFLOP/s are reached ({found.utilisation_from})",
        "time": f"{found.hours:,.1f} hours, {found.hours / 24:.1f} days, for "
        f"{settings.steps:,} steps",
        "price": price,
        "input": f"{found.images_per_s:,.0f} images/s needed, the machine's cores prepare about "
        f"{found.input_images_per_s:,.0f}",
    }
    title = f"{run.stage} on {machine.name}: {found.workers} x {machine.machine_type}"
    return f"\n{title}\n" + "\n".join(f"  {name:<12}{text}" for name, text in rows.items())


if __name__ == "__main__":
    run_command(main)
