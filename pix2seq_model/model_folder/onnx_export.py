"""Writes a model folder's model for ONNX Runtime, see `onnx_folder` for what is written."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from etils import epath
from onnxruntime.quantization import QuantType, quantize_dynamic

from pix2seq_model.atomic_write import atomic_path, check_room, full_disk_named, write_json
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ConfigError, ModelError
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.model_folder.onnx_folder import ONNX_FILE, OnnxInfo, sha256_of
from pix2seq_model.model_folder.onnx_graphs import convert_network

GRAPHS = ("encoder", "decoder_step")
# What of the network "int8" quantises.
INT8_PARTS = {"both": GRAPHS, "decoder": GRAPHS[1:], "none": ()}
_SHAPES_BYTES = 1 << 20  # Of a graph's shapes, at most.


def export_onnx(
    model_dir: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    int8: str = "both",
    **decoding: Any,
) -> OnnxInfo:
    """Writes a model folder's model as ONNX graphs.

    Args:
      model_dir: model folder.
      folder: where to; local or gs://.
      int8: what of the quantised model has weights of 8 bits: one of `INT8_PARTS`; with "none"
        no quantised graph is written.
      **decoding: other settings than the model folder's, see `decoding.Detector`.

    Returns:
      What was written next to the graphs.

    Raises:
      ModelError: the model folder cannot be used, or the backend is not TensorFlow.
      ConfigError: more objects than the network has positions for.
    """
    network, info = load_model_folder(os.fspath(model_dir))
    chosen = info.decoding_with(decoding)
    seed = chosen.pop("seed", 0)
    settings = DecodeSettings(**chosen)
    info.model.check_positions("max_objects", settings.max_objects)
    if settings.decoder_storage != "float32":
        raise ConfigError(
            f"decoder_storage={settings.decoder_storage} is not for exported models: export it "
            "with --decoder_storage=float32."
        )
    graphs = convert_network(network, num_tokens=settings.num_tokens)
    written, sha256 = _write_graphs(
        {name: getattr(graphs, name) for name in GRAPHS},
        epath.Path(folder),
        quantised=INT8_PARTS[int8],
    )
    exported = OnnxInfo(
        image_size=info.model.image_size,
        resize=info.resize,
        vocabulary=info.vocabulary,
        categories=info.categories,
        decoding={**dataclasses.asdict(settings), "seed": seed},
        kv_caches=graphs.kv_caches,
        cross_kv_caches=graphs.cross_kv_caches,
        graphs=written,
        sha256=sha256,
        source=info.source,
        weights_sha256=info.weights_sha256,
    )
    write_json(epath.Path(folder) / ONNX_FILE, exported.as_json(), indent=1)
    return exported


def _write_graphs(
    graphs: Mapping[str, onnx.ModelProto], folder: epath.Path, *, quantised: tuple[str, ...]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Returns the file names and their digests, as `OnnxInfo.graphs` and `OnnxInfo.sha256`."""
    sha256 = {}
    names = {"float32": {name: f"{name}.onnx" for name in graphs}}
    if quantised:
        small = {name: f"{name}_int8.onnx" for name in quantised}
        names["int8"] = {**names["float32"], **small}
    # All are whole next to their names before the first takes its name.
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as copies:
        for name, graph in graphs.items():
            plain = Path(scratch) / f"{name}.onnx"
            _save(graph, plain)
            written = [plain]
            if name in quantised:
                written.append(Path(scratch) / f"{name}_int8.onnx")
                quantise(plain, written[1])
            for file in written:
                _copy(file, copies.enter_context(atomic_path(folder / file.name)))
                sha256[file.name] = sha256_of(file)
        # Whoever reads must not take new graphs with an old description.
        (folder / ONNX_FILE).unlink(missing_ok=True)
    return names, sha256


def quantise(source: Path, target: Path) -> None:
    """Writes a graph whose matrix products take weights of 8 bits and round what they multiply.

    Each column of a matrix has its own scale; the scale of what is multiplied follows from its
    values as they come ("dynamic"). Convolutions and embeddings stay as they are. Weights take 7 of
    the 8 bits: on processors without VNNI instructions sums of full ones would overflow, and a
    model must not find other objects on another machine.
    """
    # ONNX Runtime writes a copy with shapes next to the source first, and on a full disk half of it
    # without a word.
    check_room(target, 2 * source.stat().st_size + _SHAPES_BYTES)
    with full_disk_named(target):
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


def _save(graph: onnx.ModelProto, path: Path) -> None:
    try:
        with full_disk_named(path):
            path.write_bytes(graph.SerializeToString())
    except ValueError as error:  # protobuf's limit of 2 GiB
        raise ModelError(f"The network is too large for one ONNX file: {error}") from None


def _copy(source: Path, target: Path) -> None:
    epath.Path(source).copy(target, overwrite=True)
