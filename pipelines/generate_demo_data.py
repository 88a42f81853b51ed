"""Draws demonstration data in the on-disk layouts of Objects365 v2 and COCO 2017.

    python pipelines/generate_demo_data.py --output=demo/data

The same settings give the same files; a folder that already holds them is left as it is.
"""

import itertools
import os

from absl import flags

from pipelines.cli.command_line import run_command
from pix2seq_model.errors import ConfigError
from pix2seq_model.progress import DetectionProgress
from pix2seq_model.synthetic import dataset as demo_data

_DEFAULTS = demo_data.DemoSettings()
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)
_SEED = flags.DEFINE_integer("seed", _DEFAULTS.seed, "Other seeds draw other photographs.")
_COUNTS = {
    name: flags.DEFINE_integer(name, getattr(_DEFAULTS, name), f"Images in {name}.")
    for name in ("objects365_train", "objects365_val", "coco_train", "coco_val")
}
_IMAGE_SIZE = flags.DEFINE_list(
    "image_size", [str(side) for side in _DEFAULTS.image_size], "Short and long side in pixels."
)


def main(beam_arguments: list[str]) -> None:
    if beam_arguments:
        raise ConfigError(f"there is no flag {beam_arguments[0]}")
    try:
        short, long = (int(side) for side in _IMAGE_SIZE.value)
    except ValueError:
        raise ConfigError(
            f"--image_size={','.join(_IMAGE_SIZE.value)} is not two numbers; "
            "write --image_size=128,160"
        ) from None
    settings = demo_data.DemoSettings(
        seed=_SEED.value,
        image_size=(short, long),
        **{name: flag.value for name, flag in _COUNTS.items()},
    )
    if demo_data.is_complete(_OUTPUT.value, settings):
        print(f"demonstration data: {_OUTPUT.value} is already there")
        return
    progress = DetectionProgress("demonstration data", total=settings.num_images)
    done = itertools.count(1)
    demo_data.generate(
        _OUTPUT.value,
        settings,
        num_processes=os.cpu_count() or 1,
        on_image=lambda: progress.update(next(done)),
    )
    progress.close()
    print(f"demonstration data: {settings.num_images} images in {_OUTPUT.value}")


if __name__ == "__main__":
    run_command(main)
