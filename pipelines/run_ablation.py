"""The paper's ablations: bins, order of the objects, noise objects and the end token.

    python pipelines/run_ablation.py --config=configs/ablation.py --output=demo/ablation

Trains and evaluates one small model for every setting and seed, then writes ablation.json,
ablation.csv and ablation.html into the output folder. The same command again does only what is
missing, in the middle of a training too. --config.section.field=value changes one setting, as
--config.ablation.seeds="(0, 1, 2, 3, 4)".
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import json
import os
import time
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from pipelines import cache_keys
from pipelines.cli.command_line import local_pipeline, run_command, split_overrides
from pipelines.cli.config_flag import config_given
from pipelines.cli.own_data import settle_data
from pipelines.cli.place_flags import define_place
from pix2seq_model.ablation.trials import ablation_settings, plan_trials, stages_of
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.manifest import FILE_NAME as MANIFEST
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment.recipes import load_with_recipes
from pix2seq_model.json_file import read_json
from pix2seq_model.synthetic import dataset as demo_data
from pix2seq_model.training.settings import STAGES

FLAGS = flags.FLAGS

define_place(
    "output", "", "Folder of all results, here; empty: runs/<name of the config>.", asked=False
)


def main(arguments: list[str]) -> None:
    config_file = config_given(default="configs/ablation.py")
    overrides, beam_arguments = split_overrides(arguments)
    settled = settle_data(config_file, overrides)
    config, _, notes = load_with_recipes(config_file, settled.overrides)
    print("".join(f"{note}\n" for note in (*settled.notes, *notes)), end="")
    for stage in STAGES:
        if config[stage].epochs:
            raise ConfigError(f"{stage}.epochs: a trial's length is given as {stage}.steps.")
    trials = plan_trials(config)
    output = FLAGS.output or f"runs/{config.name}"
    if "://" in output:
        raise ConfigError(f"--output={output}: give a folder on this machine.")
    root = Path(output).absolute()
    start = time.monotonic()
    settings = ablation_settings(config)
    drawn = settings.draw.dataset()
    if settings.draw_into and not demo_data.is_complete(settings.draw_into, drawn):
        print(f"drawing {drawn.num_images:,} images into {settings.draw_into}", flush=True)
        demo_data.generate(settings.draw_into, drawn, num_processes=os.cpu_count() or 1)
    examples = {
        stage: convert_once(config, stage, root / "records" / stage, beam_arguments)
        for stage in stages_of(trials)
    }
    # TensorFlow takes seconds to import: after all that may be refused.
    from pix2seq_model.ablation.runner import run_trials

    results = run_trials(config, examples=examples, output_dir=root)
    from pix2seq_model.ablation.summary import summarize, write_tables

    summary = summarize(config, results, examples=examples, output_dir=root)
    write_tables(root, summary)
    from pix2seq_model.ablation.page import write_page  # The charts take a while to import.

    page = write_page(root, summary)
    print(summary.text())
    print(f"\n{page}\n{root}: complete after {(time.monotonic() - start) / 60:.1f} min")


def convert_once(config: ConfigDict, stage: str, folder: Path, beam_arguments: list[str]) -> Path:
    """Converts the data of a stage for all trials, unless an earlier call did.

    Returns:
      The examples folder.

    Raises:
      UserError: the data cannot be converted, or the folder holds other data's records.
    """
    source = {
        "source": config.data[stage].to_dict(),
        "content": cache_keys.source_digest(config.data[stage], f"data.{stage}"),
    }
    note = folder / "source.json"
    if (folder / MANIFEST).exists() and note.exists():
        fix = f"it said which data {folder} holds: delete that folder, or give another --output"
        if read_json(note, fix=fix) != json.loads(json.dumps(source)):
            raise ConfigError(
                f"{folder} holds records of other data than data.{stage} names now: give another "
                "--output, or delete that folder."
            )
        return folder
    from components.conversion.convert import convert_dataset  # Beam takes seconds to import.
    from components.conversion.options import conversion_options

    print(f"converting the data of {stage}", flush=True)
    convert_dataset(
        conversion_options(config.data[stage].to_dict(), name=config.name, seed=config.seed),
        str(folder),
        make_pipeline=lambda: local_pipeline(beam_arguments),
    )
    write_json(note, source)
    return folder


if __name__ == "__main__":
    run_command(main, continues=True)
