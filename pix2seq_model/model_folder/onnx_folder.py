"""An exported model on disk: graphs for ONNX Runtime, and what a runner must know besides.

    <folder>/onnx.json                    sizes, vocabulary, categories, decoding, caches, digests
    <folder>/encoder.onnx                 images to keys and values of the image in each layer
    <folder>/decoder_step.onnx            a token and the caches to logits and the caches
    <folder>/encoder_int8.onnx            the same, quantised
    <folder>/decoder_step_int8.onnx

`onnx.json` is removed before the first graph is written over an older one, and written after the
last: who reads meanwhile, or has read it before, finds by its digests that graphs are not its own.

Reading it needs neither Keras nor TensorFlow: NumPy alone.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pix2seq_model.errors import ConfigError, ModelError, shown
from pix2seq_model.json_file import read_json
from pix2seq_model.tokens.vocabulary import Vocabulary

ONNX_FILE = "onnx.json"
# Names of the graphs' arrays, besides the caches'.
IMAGES, TOKENS, CACHE_INDEX, LOGITS = "images", "tokens", "cache_index", "logits"
# In front of a cache's name where it leaves the step: no graph gives one name to two arrays.
UPDATED = "updated_"
# Before 2 it had no digests.
_FORMAT_VERSION = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheArray:
    """A cache of keys or values; float32.

    Attributes:
      name: of the decoder step's input; the output has `UPDATED` in front.
      shape: for one image.
      batch_axis: the axis of `shape` that is as many times as long for several images.
    """

    name: str
    shape: tuple[int, ...]
    batch_axis: int

    def shape_for(self, batch_size: int) -> tuple[int, ...]:
        """Its shape for so many images."""
        factors = (batch_size if axis == self.batch_axis else 1 for axis in range(len(self.shape)))
        return tuple(size * factor for size, factor in zip(self.shape, factors))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxInfo:
    """What `onnx.json` says.

    Attributes:
      image_size: (height, width) in pixels of the encoder's input.
      resize: how images are made ready, one of `input_pipeline.settings.RESIZES`.
      vocabulary: the token ids.
      categories: ({"id": int, "name": str}, ...), see `model_folder.folder.ModelInfo`.
      decoding: fields of `decoding.DecodeSettings`, and `seed`. `max_objects` is the most that
        the caches have room for.
      kv_caches: of the tokens: the step takes them, zeros at first, and returns them with its
        token written at `cache_index`.
      cross_kv_caches: of the image: the encoder returns them, each step takes them.
      graphs: file names {"encoder", "decoder_step"} by precision.
      sha256: digests of these files, in hexadecimal digits; none of earlier exports.
      source: one line about where the weights come from.
      weights_sha256: digest of the model folder's weights.
    """

    image_size: tuple[int, int]
    resize: str
    vocabulary: Vocabulary
    categories: tuple[dict, ...]
    decoding: Mapping[str, Any]
    kv_caches: tuple[CacheArray, ...]
    cross_kv_caches: tuple[CacheArray, ...]
    graphs: Mapping[str, Mapping[str, str]]
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""
    weights_sha256: str = ""

    def as_json(self) -> dict[str, Any]:
        """What `read_onnx_info` reads."""
        return {"format_version": _FORMAT_VERSION, **dataclasses.asdict(self)}

    def check_graph(self, path: Path) -> None:
        """Looks whether a graph is the one that was exported; after it was loaded, not before.

        Raises:
          ModelError: it is another one.
        """
        expected = self.sha256.get(path.name)
        if expected is None:
            return
        if sha256_of(path) != expected:
            raise ModelError(
                f"{path} is not the graph that {ONNX_FILE} next to it describes: another export "
                "was being written there, or was copied in part. Wait for it, or export the model "
                "again."
            )


def sha256_of(path: Path) -> str:
    """The digest of a file, as `OnnxInfo.sha256` has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_onnx_info(folder: str | os.PathLike) -> OnnxInfo:
    """Reads `onnx.json`.

    Raises:
      ModelError: it is missing, damaged or of another version of the format.
    """
    path = Path(folder) / ONNX_FILE
    if not path.exists():
        raise ModelError(
            f"{folder} is no exported model: it has no {ONNX_FILE}. Write one from a model folder "
            "with pipelines/export_onnx.py."
        )
    try:
        content = read_json(path, fix="export the model again", error=ModelError, kind=dict)
        version = content.pop("format_version")
        if version not in range(1, _FORMAT_VERSION + 1):
            raise ModelError(
                f"{path} has format_version {version}, this version of the project reads up to "
                f"{_FORMAT_VERSION}: export the model again."
            )
        for caches in ("kv_caches", "cross_kv_caches"):
            content[caches] = tuple(
                CacheArray(**{**cache, "shape": tuple(cache["shape"])}) for cache in content[caches]
            )
        content["image_size"] = tuple(content["image_size"])
        content["vocabulary"] = Vocabulary(**content["vocabulary"])
        content["categories"] = tuple(content["categories"])
        for row in content["categories"]:
            if type(row["id"]) is not int or not isinstance(row["name"], str):
                raise TypeError(f"categories has {shown(row)}")
        if not isinstance(content["decoding"], dict):
            raise TypeError(f"decoding is {shown(content['decoding'])}")
        content["graphs"] = {
            precision: {name: files[name] for name in ("encoder", "decoder_step")}
            for precision, files in content["graphs"].items()
        }
        content["sha256"] = {**content.get("sha256", {})}
        return OnnxInfo(**content)
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged ({error}): export the model again.") from error
