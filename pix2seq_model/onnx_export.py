"""The served model as an ONNX file, for runtimes other than TensorFlow.

It is the SavedModel's signature for pixels, all of it: resizing, the loop of decoding, category
names. ONNX has no operation that decodes JPEG files, so there is no signature for those.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from etils import epath

from pix2seq_model.decoding import DecodeSettings
from pix2seq_model.errors import ModelError
from pix2seq_model.export import ServedGraph
from pix2seq_model.model_folder import write_atomically

_OPSET = 18


def export_onnx(
    network: keras.Model,
    path: str | os.PathLike,
    *,
    categories: Sequence[dict],
    settings: DecodeSettings,
    seed: int = 0,
) -> None:
    """Writes an ONNX file.

    Its input is `images`, uint8 (B, height, width, 3); its outputs are those of
    `export.export_saved_model`.

    Args:
      network: a Pix2Seq.
      path: file to write; local or gs://.
      categories, settings, seed: see `export.export_saved_model`.

    Raises:
      ModelError: tf2onnx is not installed, or the backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            "ONNX is written from the TensorFlow backend: set KERAS_BACKEND=tensorflow."
        )
    try:
        from tf2onnx import convert
    except ImportError:
        raise ModelError(
            "ONNX needs the package tf2onnx: pip install --no-deps -r requirements/onnx.txt"
        ) from None
    graph = ServedGraph(network, categories=categories, settings=settings, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "model.onnx"
        convert.from_function(
            graph.detect_images,
            input_signature=graph.detect_images.input_signature,
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
            output_path=os.fspath(local),
        )
        target = epath.Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, local.read_bytes())


def _erfc(graph: Any, node: Any, name: str, args: Any) -> None:
    """Keras' GELU has the complement of the error function, which ONNX has not: 1 - erf(x)."""
    (x,), (y,) = node.input, node.output
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    one = graph.make_const(f"{node.name}_one", np.float32(1)).output[0]
    erf = graph.make_node("Erf", [x]).output[0]
    graph.make_node("Sub", [one, erf], outputs=[y], name=node.name, shapes=shapes, dtypes=dtypes)
