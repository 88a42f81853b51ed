"""Draws demonstration data in the on-disk layouts of Objects365 v2 and COCO 2017.

    python pipelines/generate_demo_data.py --output=demo/data

The same settings give the same files; a folder that already holds them is left as it is.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import itertools
import os

from absl import flags

from pipelines.cli.command_line import flag_values, run_command, two_numbers
from pipelines.cli.place_flags import define_place
from pix2seq_model.progress import DetectionProgress
from pix2seq_model.synthetic import dataset as demo_data

FLAGS = flags.FLAGS

_DEFAULTS = demo_data.DemoSettings()
_COUNTS = ("objects365_train", "objects365_val", "coco_train", "coco_val")
define_place("output", None, "Folder to write.", required=True)
flags.DEFINE_integer("seed", _DEFAULTS.seed, "Other seeds draw other photographs.")
for _name in _COUNTS:
    flags.DEFINE_integer(_name, getattr(_DEFAULTS, _name), f"Images in {_name}.")
flags.DEFINE_list("image_size", list(_DEFAULTS.image_size), "Short and long side in pixels.")


def main() -> None:
    settings = demo_data.DemoSettings(
        image_size=two_numbers("image_size", "128,160"), **flag_values("seed", *_COUNTS)
    )
    if demo_data.is_complete(FLAGS.output, settings):
        print(f"demonstration data: {FLAGS.output} is already there")
        return
    progress = DetectionProgress("demonstration data", total=settings.num_images)
    done = itertools.count(1)
    demo_data.generate(
        FLAGS.output,
        settings,
        num_processes=os.cpu_count() or 1,
        on_image=lambda: progress.update(next(done)),
    )
    progress.close()
    print(f"demonstration data: {settings.num_images} images in {FLAGS.output}")


if __name__ == "__main__":
    run_command(main, takes_more=False)
