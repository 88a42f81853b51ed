"""Imports a published Pix2Seq checkpoint as a model folder.

    python pipelines/import_checkpoint.py \\
        --checkpoint=gs://pix2seq/coco_det_finetune/vit_b_640x640 --output=models/vit_b

The folder can be fine-tuned from (`--config.finetune.start_from=models/vit_b`), evaluated and, with
`--serving_model`, served. Every weight is accounted for: one that is missing in the checkpoint, or
that the network has no place for, is a refusal unless it is allowed.
"""

from absl import flags

from pipelines.cli.command_line import run_command
from pix2seq_model.errors import ConfigError

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Folder of a checkpoint with its config.json, or prefix of its files; local or gs://.",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "Model folder to write.", required=True)
_IMAGE_SIZE = flags.DEFINE_list(
    "image_size", [], "Height and width in pixels to build the model for; empty: as published."
)
_CATEGORIES = flags.DEFINE_string(
    "categories",
    "",
    "Examples folder or COCO annotation file with the categories' names; empty: COCO's for the "
    "published checkpoints of COCO.",
)
_ALLOW_MISSING = flags.DEFINE_bool(
    "allow_missing", False, "Start weights that the checkpoint lacks from fresh values."
)
_ALLOW_UNUSED = flags.DEFINE_bool(
    "allow_unused", False, "Leave out weights that the network has no place for."
)
_SERVING_MODEL = flags.DEFINE_bool(
    "serving_model", False, "Also write the SavedModel, into Format-Serving."
)


def main(beam_arguments: list[str]) -> None:
    if beam_arguments:
        raise ConfigError(f"there is no flag {beam_arguments[0]}")
    image_size = _image_size(_IMAGE_SIZE.value)
    # After the flags are checked: TensorFlow takes seconds to import.
    from pix2seq_model.published.import_checkpoint import import_checkpoint

    loaded = import_checkpoint(
        _CHECKPOINT.value,
        _OUTPUT.value,
        image_size=image_size,
        categories=_CATEGORIES.value,
        allow_missing=_ALLOW_MISSING.value,
        allow_unused=_ALLOW_UNUSED.value,
    )
    print(f"{loaded.prefix}: {loaded.report.describe()}")
    if _SERVING_MODEL.value:
        _export(_OUTPUT.value)
    print(f"model folder: {_OUTPUT.value}")


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


def _image_size(words: list[str]) -> tuple[int, int] | None:
    if not words:
        return None
    try:
        height, width = (int(word) for word in words)
    except ValueError:
        raise ConfigError(
            f"--image_size={','.join(words)} is not two numbers; write --image_size=640,640"
        ) from None
    return height, width


if __name__ == "__main__":
    run_command(main)
