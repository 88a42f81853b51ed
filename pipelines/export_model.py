"""Writes a model for other programs: a SavedModel for TensorFlow Serving, or an ONNX file.

    python pipelines/export_model.py --model=demo/pipeline/serving_model --output=served/1
    python pipelines/export_model.py --model=demo/pipeline/serving_model --format=onnx \\
        --output=detector.onnx

The pipeline pushes a SavedModel by itself; this is for other settings of decoding, models that
were imported, and ONNX, which needs `pip install --no-deps -r requirements/onnx.txt`. What goes in
and comes out is in docs/serving.md.
"""

import os

from absl import flags

from pipelines.command_line import run_command
from pipelines.decoding_flags import decoding_settings
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.model_folder import read_model_info
from pix2seq_model.pushed_model import find_model_folder

_MODEL = flags.DEFINE_string("model", None, "Model folder, or a pushed version.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder, or ONNX file, to write.", required=True)
_FORMAT = flags.DEFINE_enum("format", "saved_model", ["saved_model", "onnx"], "What to write.")


def main(beam_arguments: list[str]) -> None:
    if beam_arguments:
        raise ConfigError(f"there is no flag {beam_arguments[0]}")
    model_dir = find_model_folder(_MODEL.value)
    info = read_model_info(model_dir)
    # Written from TensorFlow, whatever trained it.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from pix2seq_model.decoding import DecodeSettings
    from pix2seq_model.detector import check_positions
    from pix2seq_model.export import export_model_folder
    from pix2seq_model.model_folder import load_model_folder
    from pix2seq_model.onnx_export import export_onnx

    chosen = {"max_objects": info.max_objects, **decoding_settings()}
    seed = chosen.pop("seed")
    settings = DecodeSettings(**chosen)
    check_positions(settings, info.model)
    try:
        if _FORMAT.value == "onnx":
            network, info = load_model_folder(model_dir)
            export_onnx(
                network, _OUTPUT.value, categories=info.categories, settings=settings, seed=seed
            )
        else:
            export_model_folder(model_dir, _OUTPUT.value, settings=settings, seed=seed)
    except OSError as error:
        raise DataError(f"{_OUTPUT.value} cannot be written: {error}") from None
    print(_OUTPUT.value)


if __name__ == "__main__":
    run_command(main)
