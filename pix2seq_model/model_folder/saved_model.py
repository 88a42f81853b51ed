"""The served model: a SavedModel that takes image files of any size and returns boxes.

It is one TensorFlow graph, from encoded images to the boxes in them: loading it needs only
TensorFlow, neither Keras nor this project. Nothing in it asks to be compiled by XLA:
TensorFlow Serving refuses such graphs on CPUs unless it is told otherwise, has no compiler for GPUs
at all (tensorflow/serving issue 2214), and every new size of a batch would be compiled again.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from etils import epath

from pix2seq_model.atomic_write import PARTIAL, seconds_unchanged
from pix2seq_model.boxes import box_yxyx_is_valid
from pix2seq_model.data.categories import category_numbers
from pix2seq_model.decoding.generate import decode_images
from pix2seq_model.decoding.sampling import draw_uniform
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ModelError, UserError
from pix2seq_model.input_pipeline.preprocessing import preprocess_images
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.model_folder.pushed import EXPORT_FILE, GRAPH_FILE
from pix2seq_model.network.slice_update import without_xla
from pix2seq_model.tokens.detections import boxes_from_tokens, boxes_in_original

CATEGORIES_FILE = "categories.json"
# The code of which the graph is made, below the library's folder.
_CODE = (
    *("network", "decoding", "tokens", "boxes.py", "data/categories.py"),
    *("input_pipeline/preprocessing.py", "input_pipeline/settings.py"),
    "model_folder/saved_model.py",
)
# Of a disk; others are errors in a graph.
_REFUSALS = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)
# Nothing is written into the copy of an export for so long: it was killed. An object of a bucket is
# seen only when all of it has been sent.
_LEFT_AFTER_S, _LEFT_IN_BUCKET_AFTER_S = 600.0, 24 * 3600.0
SERVED_FILES, SERVED_IMAGES = "serving_default", "serving_images"  # The signatures.


def export_model_folder(
    model_dir: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    settings: DecodeSettings,
    seed: int = 0,
) -> None:
    """Writes a model folder's model as a SavedModel, whatever the backend that trained it.

    See `export_saved_model`; on another backend than TensorFlow a separate process does it.
    """
    if keras.backend.backend() == "tensorflow":
        network, info = load_model_folder(os.fspath(model_dir))
        export_saved_model(
            network,
            folder,
            categories=info.categories,
            settings=settings,
            seed=seed,
            resize=info.resize,
        )
        return
    request = [os.fspath(model_dir), os.fspath(folder), dataclasses.asdict(settings), seed]
    command = [sys.executable, "-m", __name__, json.dumps(request)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ModelError(
            f"Exporting {model_dir} to {folder} with the TensorFlow backend failed: "
            f"{done.stderr.strip()[-2000:]}"
        )


def export_saved_model(
    network: keras.Model,
    folder: str | os.PathLike,
    *,
    categories: Sequence[dict],
    settings: DecodeSettings,
    seed: int = 0,
    resize: str = "antialias",
) -> None:
    """Writes a SavedModel.

    Its signatures are `serving_default`, of `image_bytes`, a string (B,) of files that
    `preprocessing.decode_file` takes, and `serving_images`, of `images`, uint8 (B, height, width,
    3). Both return

        detection_boxes        float32 (B, N, 4), ymin, xmin, ymax, xmax in [0, 1] of the image
        detection_classes      int64 (B, N), the annotation file's category ids, 0 behind the last
        detection_class_names  string (B, N)
        detection_scores       float32 (B, N)
        num_detections         int32 (B,)

    with the most likely objects first, those without area left out. The categories are in
    `assets.extra/categories.json` as well; `assets.extra/export.json` says what, besides the
    weights, decided the graph. The graph's own bytes do not: they count what the process built.

    Args:
      network: a Pix2Seq.
      folder: where to; local or gs://. What is there is replaced once the new one is whole. Two
        exports to one folder of a bucket at the same time are not kept apart.
      categories: {"id", "name"} of the data set.
      settings: of decoding.
      seed: of the sampled tokens; the same image gives the same objects.
      resize: one of `input_pipeline.settings.RESIZES`.

    Raises:
      ModelError: the backend is not TensorFlow; or a disk is full: on this machine nothing is
        half-written. In a bucket the old files go before the new ones come: if one of these is
        refused, the new SavedModel is whole under another name, which the message gives.
    """
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            "A SavedModel is written from the TensorFlow backend: load the model folder with "
            "KERAS_BACKEND=tensorflow and export it there."
        )
    module = _ServedModel(
        network, categories=categories, settings=settings, seed=seed, resize=resize
    )
    target = epath.Path(folder)
    with _refusals_named(folder), tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "model"
        signatures = {SERVED_FILES: module.detect_files, SERVED_IMAGES: module.detect_images}
        tf.saved_model.save(module, os.fspath(local), signatures=signatures)
        extra = local / "assets.extra"
        extra.mkdir()
        (extra / CATEGORIES_FILE).write_text(json.dumps(list(categories), indent=1) + "\n")
        made = {
            "settings": dataclasses.asdict(settings),
            "seed": seed,
            "resize": resize,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "code": _code_digest(),
        }
        (local / EXPORT_FILE).write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
        _replace_folder(local, target)


def _code_digest() -> str:
    library = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for place in _CODE:
        path = library / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(library).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    return digest.hexdigest()


class _ServedModel(tf.Module):
    def __init__(
        self,
        network: keras.Model,
        *,
        categories: Sequence[dict],
        settings: DecodeSettings,
        seed: int,
        resize: str,
    ) -> None:
        super().__init__(name="pix2seq")
        self._weights = [weight.value for weight in network.weights]
        self._image_size = network.model_config.image_size
        self._vocabulary = network.vocabulary
        self._settings = settings
        self._resize = resize
        num_classes = network.vocabulary.max_category_id + 1
        self._names = np.full(num_classes, "", dtype=object)
        self._numbers = np.zeros(num_classes, np.int64)
        # Only known categories are detections.
        self._known = np.zeros(num_classes, bool)
        for category_id, number in category_numbers(categories).items():
            self._numbers[category_id], self._known[category_id] = number, True
        for category in categories:
            self._names[category["id"]] = category["name"]

        # A separate function, traced once: both signatures share its graph.
        prepared = (
            tf.TensorSpec((None, *self._image_size, 3), tf.float32, name="images"),
            tf.TensorSpec((None,), tf.int64, name="image_keys"),
        )

        @tf.function(autograph=False, input_signature=prepared)
        def decode(images, image_keys):
            uniform_BL = draw_uniform(seed, image_keys, settings.num_tokens)
            with without_xla():
                return decode_images(network, images, uniform_BL, settings=settings)

        self._decode = decode

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")]
    )
    def detect_files(self, image_bytes):
        return self._detect(preprocess_images(image_bytes, self._image_size, resize=self._resize))

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")],
    )
    def detect_images(self, images):
        return self._detect(preprocess_images(images, self._image_size, resize=self._resize))

    def _detect(self, prepared):
        decoded = self._decode(prepared["image"], prepared["image_key"])
        boxes_BN4 = boxes_in_original(
            boxes_from_tokens(decoded["tokens"], self._vocabulary, xp=keras.ops),
            image_size=self._image_size,
            content_size_B2=tf.cast(prepared["content_size"], tf.float32),
            xp=keras.ops,
        )
        categories_BN = decoded["category_ids"]
        # A box without area marks nothing.
        is_object_BN = tf.gather(self._known, categories_BN) & box_yxyx_is_valid(boxes_BN4, xp=tf)
        scores_BN = tf.where(is_object_BN, decoded["scores"], -1.0)
        order_BN = tf.argsort(scores_BN, axis=1, direction="DESCENDING", stable=True)
        is_object_BN = tf.gather(is_object_BN, order_BN, batch_dims=1)
        categories_BN = tf.where(is_object_BN, tf.gather(categories_BN, order_BN, batch_dims=1), 0)
        boxes_BN4 = tf.gather(boxes_BN4, order_BN, batch_dims=1)
        return {
            "detection_boxes": tf.where(is_object_BN[..., None], boxes_BN4, 0.0),
            "detection_classes": tf.gather(self._numbers, categories_BN),
            "detection_class_names": tf.gather(tf.constant(list(self._names)), categories_BN),
            "detection_scores": tf.maximum(tf.gather(scores_BN, order_BN, batch_dims=1), 0.0),
            "num_detections": tf.reduce_sum(tf.cast(is_object_BN, tf.int32), axis=1),
        }


@contextlib.contextmanager
def _refusals_named(folder: str | os.PathLike) -> Iterator[None]:
    """Says what to do where a disk is full or refuses, TensorFlow's errors of it included."""
    try:
        yield
    except (OSError, *_REFUSALS) as error:
        said = error.message if isinstance(error, tf.errors.OpError) else error
        raise ModelError(
            f"The SavedModel {folder} cannot be written ({said}): if its disk or that of the "
            "temporary folder (TMPDIR) is full, free some space and run the same command again"
        ) from error


def _replace_folder(source: Path, target: epath.Path) -> None:
    """Copies a folder next to `target`, and puts it there when it is whole."""
    in_bucket = _is_in_bucket(target)
    old = target.parent / f"{PARTIAL}old-{target.name}"
    # Of this export alone: another one to the same folder has another copy.
    fresh = target.parent / f"{PARTIAL}new-{uuid.uuid4().hex}-{target.name}"
    if not in_bucket:
        if target.exists():
            _remove(old)
        elif old.exists():  # Killed between two names.
            old.rename(target)
        _remove_left_copies(target)  # Before their room is needed.
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    # TensorFlow Serving looks for saved_model.pb.
    names.sort(key=lambda name: name.endswith(GRAPH_FILE))
    try:
        for name in names:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            epath.Path(source / name).copy(fresh / name)
        if not in_bucket:
            _exchange(fresh, target, old)
    except BaseException:
        with contextlib.suppress(Exception):
            fresh.rmtree()
        raise
    if in_bucket:
        _copy_in_bucket(fresh, target, names)
        with contextlib.suppress(Exception):  # The new one is there, whole.
            fresh.rmtree()
            _remove_left_copies(target)


def _exchange(fresh: epath.Path, target: epath.Path, old: epath.Path) -> None:
    if not target.exists():
        fresh.rename(target)
        return
    target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        old.rename(target)
        raise
    _remove(old)


def _copy_in_bucket(fresh: epath.Path, target: epath.Path, names: Sequence[str]) -> None:
    """In place of a rename, which takes the files of `fresh` away one by one.

    Raises:
      ModelError: a file cannot be removed or copied. Of `target` some files may be missing then;
        `fresh` is whole, and stays.
    """
    try:
        if target.exists():
            target.rmtree()
        for name in names:
            (fresh / name).copy(target / name)
    except (OSError, tf.errors.OpError) as error:
        said = error.message if isinstance(error, tf.errors.OpError) else error
        raise ModelError(
            f"The SavedModel {target} cannot be replaced ({said}), and files of it may be missing. "
            f"The new one is whole in {fresh}: copy that to {target} and remove it, or run the "
            "same command again"
        ) from error


def _remove_left_copies(target: epath.Path) -> None:
    """Removes what killed exports to a folder have left, and what earlier versions named so."""
    if not target.parent.exists():
        return
    in_bucket = _is_in_bucket(target)
    after = _LEFT_IN_BUCKET_AFTER_S if in_bucket else _LEFT_AFTER_S
    copy = re.compile(f"{re.escape(PARTIAL)}new-([0-9a-f]{{32}}-)?{re.escape(target.name)}")
    for path in target.parent.iterdir():
        # One that is gone meanwhile, or may not be removed, holds up no export.
        with contextlib.suppress(OSError, tf.errors.OpError):
            if copy.fullmatch(path.name) and seconds_unchanged(path) > after:
                path.rmtree()


def _remove(folder: epath.Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # Another export has removed it too.
        folder.rmtree()


def _is_in_bucket(path: epath.Path) -> bool:
    return os.fspath(path).startswith("gs://")


if __name__ == "__main__":
    _model_dir, _folder, _settings, _seed = json.loads(sys.argv[1])
    try:
        export_model_folder(_model_dir, _folder, settings=DecodeSettings(**_settings), seed=_seed)
    except UserError as error:
        sys.exit(str(error))
