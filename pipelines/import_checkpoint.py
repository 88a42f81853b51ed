"""Imports a published Pix2Seq checkpoint as a model folder.

    python pipelines/import_checkpoint.py \\
        --checkpoint=gs://pix2seq/coco_det_finetune/vit_b_640x640 --output=models/vit_b

--checkpoint is a folder with the checkpoint's config.json, or the prefix of its files; local or
gs://. --image_size is the height and width in pixels to build the model for. --categories is an
examples folder or a COCO annotation file with the categories' names; the published checkpoints of
COCO need none.

The folder can be fine-tuned from (`--config.finetune.start_from=models/vit_b`), evaluated and, with
`--serving_model`, served. Every weight is checked: one that is missing in the checkpoint, or that
the network has no place for, is refused unless it is allowed.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

from absl import flags

from pipelines.cli.command_line import flag_values, run_command, two_numbers
from pipelines.cli.place_flags import define_place
from pix2seq_model.errors import CheckpointError, ConfigError
from pix2seq_model.published.locations import is_checkpoint

FLAGS = flags.FLAGS

define_place("checkpoint", None, "Folder, or prefix of its files.", required=True)
define_place("output", None, "Model folder to write.", required=True)
flags.DEFINE_list("image_size", [], "Height and width in pixels; empty: as published.")
define_place("categories", "", "Examples folder or COCO annotation file with the names.")
flags.DEFINE_bool("allow_missing", False, "Start weights the checkpoint lacks from fresh values.")
flags.DEFINE_bool("allow_unused", False, "Leave out weights that the network has no place for.")
flags.DEFINE_bool("serving_model", False, "Also write the SavedModel, into Format-Serving.")


def main() -> None:
    image_size = two_numbers("image_size", "640,640") if FLAGS.image_size else None
    if not is_checkpoint(FLAGS.checkpoint) and "://" not in FLAGS.checkpoint:
        raise CheckpointError(
            f"--checkpoint={FLAGS.checkpoint}: no checkpoint there; give the folder, or what the "
            "names of its files begin with, as ckpt-100 of ckpt-100.index"
        )
    # After the flags are checked: TensorFlow takes seconds to import.
    from pix2seq_model.published.import_checkpoint import import_checkpoint

    loaded = import_checkpoint(
        FLAGS.checkpoint,
        FLAGS.output,
        image_size=image_size,
        **flag_values("categories", "allow_missing", "allow_unused"),
    )
    print(f"{loaded.prefix}: {loaded.report.describe()}")
    if FLAGS.serving_model:
        _export(FLAGS.output)
    print(f"model folder: {FLAGS.output}")


def _export(folder: str) -> None:
    from pix2seq_model.decoding.settings import DecodeSettings
    from pix2seq_model.model_folder.folder import SERVING_FOLDER, read_model_info
    from pix2seq_model.model_folder.saved_model import export_model_folder

    info = read_model_info(folder)
    if not info.categories:
        raise ConfigError(
            "--serving_model needs the categories' names: give --categories, an examples folder "
            "or a COCO annotation file."
        )
    export_model_folder(
        folder,
        f"{folder.rstrip('/')}/{SERVING_FOLDER}",
        settings=DecodeSettings(max_objects=info.max_objects),
    )


if __name__ == "__main__":
    run_command(main, takes_more=False)
