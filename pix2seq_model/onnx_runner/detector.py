"""Finds objects with an exported model: `prediction.image_detector` on ONNX Runtime.

from pix2seq_model.onnx_runner.detector import OnnxDetector

detector = OnnxDetector("exported", precision="int8")
(found,) = detector.detect_files([open("photo.jpg", "rb").read()])
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from pix2seq_model.argument_names import argument
from pix2seq_model.data.categories import category_numbers
from pix2seq_model.decoding.settings import BATCH_SIZE, DecodeSettings
from pix2seq_model.errors import ConfigError, ModelError
from pix2seq_model.model_folder.onnx_folder import IMAGES, OnnxInfo, read_onnx_info
from pix2seq_model.onnx_runner.decoder import StepRunner, decode
from pix2seq_model.onnx_runner.draws import draw_uniform
from pix2seq_model.onnx_runner.preprocessing import PreparedImage, prepare_image, prepare_pixels
from pix2seq_model.setting_checks import check_one_of
from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original, coco_results

_WARNINGS_OFF = 3


class OnnxDetector:
    """An exported model, ready to be given images. For one thread at a time.

    Attributes:
      info: what `onnx.json` says.
      step: the decoder step, for `decoder.decode`.
      batch_size: how many images callers should hand over together.
      category_names: names by the annotation file's category ids.
    """

    needs_pixels = False

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        batch_size: int = BATCH_SIZE,
        precision: str = "float32",
        num_threads: int = 0,
        clip_boxes: bool = True,
        **decoding: Any,
    ) -> None:
        """
        Args:
          folder: what `export_onnx` wrote.
          batch_size: what the attribute says; any number of images can be decoded together.
          precision: "float32" or "int8".
          num_threads: of ONNX Runtime; 0: one for each core.
          clip_boxes: clips boxes to the image; else they end at the padded image's border.
          **decoding: other settings than the export's: fields of `DecodeSettings`, and `seed`.

        Raises:
          ModelError: the folder cannot be used, or has no graphs of this precision.
          ConfigError: more objects than the caches have room for.
        """
        self.info = read_onnx_info(folder)
        check_one_of("precision", precision, tuple(self.info.graphs))
        chosen = {**self.info.decoding, **decoding}
        self._seed = int(chosen.pop("seed", 0))
        self._settings = DecodeSettings(**chosen)
        _check_room(self._settings, self.info)
        files = self.info.graphs[precision]
        self._encoder = _session(Path(folder) / files["encoder"], num_threads)
        step = _session(Path(folder) / files["decoder_step"], num_threads)
        for file in files.values():  # What was loaded: a new export may have come meanwhile.
            self.info.check_graph(Path(folder) / file)
        self.step = StepRunner(step, self.info)
        self._clip_boxes = clip_boxes
        self.batch_size = batch_size
        self._numbers = category_numbers(self.info.categories)
        self.category_names = {
            self._numbers[row["id"]]: row["name"] for row in self.info.categories
        }

    def prepare(self, encoded: bytes, *, keep_pixels: bool = True, **limits: Any) -> PreparedImage:
        """An image file as this model takes it; see `prepare_image` for errors and limits."""
        size, resize = self.info.image_size, self.info.resize
        prepared = prepare_image(encoded, image_size=size, resize=resize, **limits)
        return prepared if keep_pixels else self._without_pixels(prepared)

    def prepare_pixels(self, pixels: np.ndarray, *, keep_pixels: bool = True) -> PreparedImage:
        """A decoded image as this model takes it: uint8 (height, width, 3), RGB."""
        size, resize = self.info.image_size, self.info.resize
        prepared = prepare_pixels(pixels, image_size=size, resize=resize)
        return prepared if keep_pixels else self._without_pixels(prepared)

    def _without_pixels(self, prepared: PreparedImage) -> PreparedImage:
        return prepared.without_pixels(has_key=self._settings.top_k != 1)

    def detect_files(self, files: Sequence[bytes], **limits: Any) -> list[list[dict[str, Any]]]:
        """Objects of some image files, decoded together: see `detect` and `prepare`."""
        return self.detect([self.prepare(encoded, **limits) for encoded in files])

    def detect(
        self, images: Sequence[PreparedImage], *, alone: bool = False
    ) -> list[list[dict[str, Any]]]:
        """Objects of some images, decoded together; nothing depends on whether they are `alone`.

        Returns:
          For each image its rows: category_id of the annotation file, category (its name), bbox
          [x, y, width, height] in pixels of the original, score; in the order in which the model
          names them.
        """
        if not images:
            return []
        found = self.generate(images)
        boxes_BN4 = boxes_in_original(
            boxes_from_tokens(found["tokens"], self.info.vocabulary),
            image_size=self.info.image_size,
            content_size_B2=np.array([image.content_size for image in images]),
            clip=self._clip_boxes,
        )
        rows = coco_results(
            range(len(images)),
            boxes_BN4=boxes_BN4,
            category_ids_BN=found["category_ids"],
            scores_BN=found["scores"],
            source_size_B2=np.array([(image.height, image.width) for image in images]),
            category_numbers=self._numbers,
            clip=self._clip_boxes,
        )
        by_image: list[list[dict[str, Any]]] = [[] for _ in images]
        for row in rows:
            category = self.category_names[row["category_id"]]
            by_image[row["image_id"]].append({"category": category, **_without_image_id(row)})
        return by_image

    def generate(self, images: Sequence[PreparedImage]) -> dict[str, np.ndarray]:
        """Tokens, category_ids and scores of some images, as `decoding.generate` returns them."""
        settings = self._settings
        uniform_BL = np.zeros((len(images), settings.num_tokens), np.float32)
        if settings.top_k != 1:  # Greedy decoding asks for none.
            keys_B = np.array([image.key() for image in images])
            uniform_BL = draw_uniform(self._seed, keys_B, settings.num_tokens)
        cross_kv_caches = self.encode(np.stack([image.image for image in images]))
        self.step.start(cross_kv_caches)
        return decode(self.step, uniform_BL, settings=settings, vocabulary=self.info.vocabulary)

    def encode(self, images: np.ndarray) -> list[np.ndarray]:
        """Images (B, height, width, 3) float32 to keys and values, as `info.cross_kv_caches`."""
        names = [cache.name for cache in self.info.cross_kv_caches]
        return self._encoder.run(names, {IMAGES: images})


def _without_image_id(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "image_id"}


def _check_room(settings: DecodeSettings, info: OnnxInfo) -> None:
    most = info.decoding["max_objects"]
    if settings.max_objects > most:
        raise ConfigError(
            f"{argument('max_objects', settings.max_objects)} is more than the exported "
            f"caches have room for, {most}: export the model again with "
            f"--max_objects={settings.max_objects}."
        )
    if settings.decoder_storage != "float32":
        raise ConfigError(
            f"{argument('decoder_storage', settings.decoder_storage)} is not for exported "
            f"models: leave it out; {argument('precision', 'int8')} is their way to read less "
            "memory."
        )
    if settings.keep_logits:
        raise ConfigError("keep_logits is not for exported models.")


def _session(path: Path, num_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = _WARNINGS_OFF
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime has exceptions of its own for each kind of damage.
        raise ModelError(
            f"{path} cannot be loaded by ONNX Runtime ({error}): export the model again."
        ) from None
