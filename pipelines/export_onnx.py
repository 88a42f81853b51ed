"""Writes a model for ONNX Runtime: two graphs, in float32 and with 8-bit weights.

    python pipelines/export_onnx.py --model=demo/pipeline/serving_model --output=exported

--model is a model folder, a pushed version or a published checkpoint. Needs the packages of
requirements/onnx.txt. How the written files are used, docs/serving.md says; nothing there needs
TensorFlow. --int8=decoder leaves the encoder of the quantised model as it is, --int8=none writes no
quantised model. Tokens will be drawn as the model folder says unless --top_k, ... are given;
--max_objects is also how long the caches are, and cannot be raised later.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import os
import tempfile
from collections.abc import Callable
from typing import Any

from absl import flags

# Before Keras is imported: graphs are traced on TensorFlow, whatever trained the model.
os.environ["KERAS_BACKEND"] = "tensorflow"

from pipelines.cli.command_line import flag_values, run_command
from pipelines.cli.decoding_flags import decoding_settings
from pipelines.cli.place_flags import define_place
from pix2seq_model.errors import ConfigError
from pix2seq_model.model_folder.pushed import find_model_folder
from pix2seq_model.published.locations import is_checkpoint

FLAGS = flags.FLAGS

define_place("output", None, "Folder to write.", required=True)
flags.DEFINE_enum("int8", "both", ["both", "decoder", "none"], "What has weights of 8 bits.")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        if is_checkpoint(FLAGS.model):
            from pix2seq_model.published.import_checkpoint import import_checkpoint

            model_dir = os.path.join(scratch, "model")
            import_checkpoint(FLAGS.model, model_dir)
        else:
            model_dir = find_model_folder(FLAGS.model)
        export_onnx = _exporter()
        exported = export_onnx(
            model_dir, FLAGS.output, **flag_values("int8"), **decoding_settings()
        )
    print(f"{' and '.join(exported.graphs)}: {FLAGS.output}")


def _exporter() -> Callable[..., Any]:
    """Imported when all else is known to be right: TensorFlow takes seconds."""
    try:
        from pix2seq_model.model_folder.onnx_export import export_onnx
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime", "tf2onnx"):
            raise
        raise ConfigError(
            f"the package {error.name} is not installed: pip install --no-deps "
            "-r requirements/onnx.txt"
        ) from None
    return export_onnx


if __name__ == "__main__":
    run_command(main, takes_more=False)
