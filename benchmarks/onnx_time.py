"""How long an image takes on ONNX Runtime, next to TensorFlow. Prints one line of JSON.

    python benchmarks/onnx_time.py --backbone=vit_b --image_size=640 --folder=/tmp/vit_b_onnx

The network has drawn weights, decodes greedily and to full length. TensorFlow's compiled decoding
runs first; then the exported model in float32 and with 8-bit weights, in the same process. The exit
status is 1 if the float32 model's tokens differ from TensorFlow's. A folder that was exported
before is used again.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np

from pix2seq_model.decoding.generate import decoder_for, encoder_for
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.model_folder.folder import ModelInfo, save_model_folder
from pix2seq_model.model_folder.onnx_export import export_onnx
from pix2seq_model.model_folder.onnx_folder import ONNX_FILE
from pix2seq_model.network.config import PUBLISHED_NAMES, ModelConfig
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.onnx_runner.decoder import decode
from pix2seq_model.onnx_runner.detector import OnnxDetector
from pix2seq_model.tokens.vocabulary import Vocabulary

# As drawn, the decoder repeats a token or two whatever it sees, and equal tokens would say little.
_LIVELIER = 3.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vit_b", choices=PUBLISHED_NAMES)
    parser.add_argument("--image_size", type=int, default=640, help="pixels, of both sides")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--max_objects", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="the median of them counts")
    parser.add_argument("--folder", type=Path, help="where to export to; a temporary one if absent")
    parser.add_argument("--export_only", action="store_true", help="only fill the folder")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch) / "exported"
        network = _network(given)
        settings = DecodeSettings(max_objects=given.max_objects, top_k=1, stop_at_end=False)
        if not (folder / ONNX_FILE).exists():
            _export(network, folder, settings, Path(scratch) / "model")
        if given.export_only:
            return 0
        result = measure(network, folder, settings, given)
    print(json.dumps(result))
    return 0 if result["tokens_equal"]["float32"] == 1 else 1


def measure(
    network: Pix2Seq, folder: Path, settings: DecodeSettings, given: argparse.Namespace
) -> dict[str, Any]:
    """Seconds for a batch, how many times faster than TensorFlow, the share of equal tokens."""
    size = network.model_config.image_size
    images = np.random.default_rng(0).random((given.batch_size, *size, 3), np.float32)
    uniform_BL = np.zeros((given.batch_size, settings.num_tokens), np.float32)
    encode, decoder = encoder_for(network), decoder_for(network, settings)
    nothing_B = np.zeros(given.batch_size, bool)

    def both(images):
        return decoder(encode(images), uniform_BL, nothing_B)

    seconds: dict[str, Any] = {
        "tensorflow": {
            "encoder": _median_seconds(lambda: encode(images).numpy(), given.repeats),
            "both": _median_seconds(lambda: both(images)["tokens"].numpy(), given.repeats),
        }
    }
    expected = both(images)["tokens"].numpy()
    equal, ratio = {}, {}
    for precision in ("float32", "int8"):
        detector = OnnxDetector(folder, precision=precision)

        def run(detector: OnnxDetector = detector) -> np.ndarray:
            detector.step.start(detector.encode(images))
            vocabulary = detector.info.vocabulary
            return decode(detector.step, uniform_BL, settings=settings, vocabulary=vocabulary)[
                "tokens"
            ]

        seconds[precision] = {
            "encoder": _median_seconds(lambda: detector.encode(images), given.repeats),  # noqa: B023
            "both": _median_seconds(run, given.repeats),
        }
        equal[precision] = float(np.mean(run() == expected))
        ratio[precision] = seconds["tensorflow"]["both"] / seconds[precision]["both"]
    facts = {name: getattr(given, name) for name in ("backbone", "image_size", "batch_size")}
    return {
        **facts,
        "tokens": settings.num_tokens,
        "seconds": seconds,
        "times_faster": ratio,
        "tokens_equal": equal,
        "distinct_tokens": len(np.unique(expected)),
    }


def _network(given: argparse.Namespace) -> Pix2Seq:
    size = (given.image_size, given.image_size)
    network = build_model(ModelConfig.published(given.backbone, size), Vocabulary())
    for weight in network.decoder.trainable_weights:
        if weight.name == "kernel":
            weight.assign(_LIVELIER * weight)
    return network


def _export(network: Pix2Seq, folder: Path, settings: DecodeSettings, model_dir: Path) -> None:
    info = ModelInfo(
        model=network.model_config,
        vocabulary=network.vocabulary,
        categories=({"id": 1, "name": "object"},),
        max_objects=settings.max_objects,
    )
    save_model_folder(str(model_dir), network, info=info)
    start = time.perf_counter()
    export_onnx(model_dir, folder, top_k=1)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"exported in {time.perf_counter() - start:.0f} s, {size / 1e6:.0f} MB", file=sys.stderr)


def _median_seconds(function: Callable[[], Any], repeats: int) -> float:
    """The median after a first call, which compiles."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return round(float(np.median(times)), 3)


if __name__ == "__main__":
    if keras.backend.backend() != "tensorflow":
        sys.exit("TensorFlow is what is compared with: run with KERAS_BACKEND=tensorflow.")
    sys.exit(main(sys.argv[1:]))
