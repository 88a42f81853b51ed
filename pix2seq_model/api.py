"""A trained model in Python.

    from pix2seq_model import load

    model = load("serving_model")
    for result in model.predict(["photo.jpg", array, pil_image], score=0.3):
        print(result.source, result.boxes_xyxy, result.scores, result.names, result.milliseconds)
        result.plot().save("drawn.jpg")

TensorFlow, or ONNX Runtime, is imported when a model is loaded that needs it: an exported model
needs the packages of the extra `onnx` alone.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from pix2seq_model.argument_names import argument, argument_name
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.decoding.settings import BATCH_SIZE
from pix2seq_model.errors import ConfigError, DataError, ModelError
from pix2seq_model.model_folder.folder import MODEL_FILE, read_model_info
from pix2seq_model.model_folder.onnx_folder import ONNX_FILE
from pix2seq_model.model_folder.pushed import (
    GRAPH_FILE,
    find_model_folder,
    find_pushed_version,
)
from pix2seq_model.model_folder.thresholds import DEFAULT_SCORE, default_score_of
from pix2seq_model.model_folder.trust import require_trust
from pix2seq_model.prediction.detect_images import ImageModel, detect_images, prepare_source
from pix2seq_model.prediction.image_inputs import ImageInput, image_inputs
from pix2seq_model.prediction.results import Result, Results
from pix2seq_model.prediction.tiling import TiledModel
from pix2seq_model.prediction.video_frames import FrameSource
from pix2seq_model.published.locations import is_checkpoint
from pix2seq_model.store_access import check_reachable

_PACKAGES = {
    **dict.fromkeys(("tensorflow", "keras", "h5py", "rich"), "predict"),
    "onnxruntime": "onnx",
}
# How a message asks for each kind of model.
_KINDS = {
    "model folder": (
        f"a model folder (with {MODEL_FILE}), a pushed version or the folder of all versions"
    ),
    "checkpoint": "a published checkpoint (*.index)",
    "SavedModel": f"a SavedModel ({GRAPH_FILE})",
    "ONNX": f"an exported model ({ONNX_FILE})",
}


class Model:
    """A model that is ready to be given images; `load` makes it.

    Attributes:
      place: what was loaded.
      kind: "model folder", "checkpoint", "SavedModel" or "ONNX".
      categories: names by category id, as in the annotations that the model was trained on.
      default_score: the least score of what is returned where none is given.
      detector: what finds the objects, for callers that prepare images themselves.
    """

    def __init__(
        self,
        detector: ImageModel,
        *,
        place: str,
        kind: str,
        default_score: float = DEFAULT_SCORE,
    ) -> None:
        self.detector = detector
        self.default_score = default_score
        self.place = place
        self.kind = kind

    def __repr__(self) -> str:
        return f"<pix2seq_model.Model {self.place}: {self.kind}, {len(self.categories)} categories>"

    @property
    def categories(self) -> dict[int, str]:
        return dict(self.detector.category_names)

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        score: float | None = None,
        tile: int = 0,
        max_pixels: int = MAX_PIXELS,
        on_error: str = "raise",
    ) -> Results:
        """Finds the objects of one image or of any number of them.

        Args:
          images: paths (of files, folders, zip archives, patterns; of videos, whose frames are
            images then), the bytes of image files,
            arrays of uint8 (height, width, 3) in RGB or (N, height, width, 3), Pillow's images, in
            any mixture; see `prediction.image_inputs.image_inputs`. Whatever their number, they
            are decoded in batches of the size given to `load`.
          score: least score of what is returned, 0 to 1; None: what the evaluation of a pushed
            model found best, 0.3 of others.
          tile: side in pixels of overlapping squares that images larger than that are looked at
            in, besides as a whole; for small objects in large pictures. 0 is off.
          max_pixels: larger images are refused before they are decoded.
          on_error: "raise", or "keep": an image that cannot be read is a result with `error`.

        Returns:
          A result for each image, in their order; a list with `to_coco()`, `to_yolo()` and
          `to_csv()`. Objects without area are left out.

        Raises:
          DataError: an image cannot be read, or is none.
          ConfigError: a value that cannot work.
        """
        results = self.stream(
            images, score=score, tile=tile, max_pixels=max_pixels, on_error=on_error
        )
        results = (result.without_frame() for result in results)
        return Results(results, categories=self.detector.category_names)

    def stream(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        score: float | None = None,
        tile: int = 0,
        max_pixels: int = MAX_PIXELS,
        on_error: str = "raise",
    ) -> Iterator[Result]:
        """As `predict`, but each result as soon as it is there; images are asked for as needed."""
        if score is None:
            score = self.default_score
        if not 0 <= score <= 1:
            raise ConfigError(f"score={score} is no number from 0 to 1.")
        if on_error not in ("raise", "keep"):
            raise ConfigError(f"on_error={on_error!r}: choose 'raise' or 'keep'.")
        detector = TiledModel(self.detector, tile=tile) if tile else self.detector
        return self._stream(detector, images, score, max_pixels, on_error == "raise")

    def _stream(
        self,
        detector: ImageModel,
        images: ImageInput | Iterable[ImageInput],
        score: float,
        max_pixels: int,
        raises: bool,
    ) -> Iterator[Result]:
        sources = image_inputs(images, max_pixels=max_pixels)
        for source, prepared, result in detect_images(
            detector, sources, score=score, max_pixels=max_pixels, keep_pixels=False
        ):
            if prepared is None:
                if raises:
                    raise DataError(f"{source.location}: {result.error}")
                yield result
                continue

            # Read again for a picture: a thousand photographs do not fit into memory.
            def pixels(source=source):
                return prepare_source(source, model=self.detector, max_pixels=max_pixels).pixels

            again = source.read_again if isinstance(source, FrameSource) else None
            yield dataclasses.replace(result.best_first(), _pixels=pixels, _pixels_again=again)


def load(
    place: str | os.PathLike,
    *,
    batch_size: int = BATCH_SIZE,
    precision: str = "",
    trust: bool = False,
    categories: str | Mapping[int, str] = "",
    **decoding: Any,
) -> Model:
    """Loads a model.

    Args:
      place: local or gs://, one of

        - a pushed version, or the folder `serving_model` of all versions: its newest;
        - a model folder, as training and `import_checkpoint` write it;
        - a published checkpoint: its folder, or the prefix of its files;
        - a SavedModel that this project exported;
        - a folder that `export_onnx` wrote, on this machine.
      batch_size: images decoded together where there are so many.
      precision: of the network: "float32" (if empty) or "bfloat16", for accelerators; of an
        exported model "float32" or "int8".
      trust: run the graph of a SavedModel that is not in this project's layout. A graph is a
        program that may read and write files: say so only of one that you know.
      categories: of a published checkpoint, which holds no names: an annotation file in COCO's
        format, an examples folder, or names by category id. The checkpoints fine-tuned on COCO
        need none if they are named by their published place.
      **decoding: other settings than those the model was evaluated with: fields of
        `decoding.DecodeSettings`, such as max_objects or top_k, and seed. A SavedModel's are fixed.

    Raises:
      ModelError: there is no model there, it is damaged, or it is not trusted.
      ConfigError: a setting that cannot work, or a package that is not installed.
    """
    place = os.fspath(place)
    if batch_size < 1:
        raise ConfigError(f"{argument('batch_size', batch_size)} is not at least 1.")
    kind, found = find_model(place, trust=trust)
    options: dict[str, Any] = {**decoding}
    if precision:
        options["precision"] = precision
    if kind == "SavedModel" and options:
        raise ConfigError(
            f"{place} is a SavedModel, whose settings are fixed: leave out "
            f"{', '.join(map(argument_name, options))}, "
            "or load the model folder it was exported from."
        )
    if categories and kind != "checkpoint":
        raise ConfigError(
            f"{place} is a {kind}, which holds the names of its categories: leave out "
            f"{argument_name('categories')}, which is for published checkpoints."
        )
    with _missing_packages_named():
        if kind == "checkpoint":
            with tempfile.TemporaryDirectory() as scratch:
                _import_checkpoint(found, scratch, categories)
                detector = _open("model folder", scratch, {**options, "batch_size": batch_size})
        else:
            detector = _open(kind, found, {**options, "batch_size": batch_size})
    return Model(detector, place=place, kind=kind, default_score=default_score_of(place))


def _open(kind: str, place: str, options: dict[str, Any]) -> ImageModel:
    if kind == "SavedModel":
        from pix2seq_model.prediction.served_detector import ServedDetector

        return ServedDetector(place)
    if kind == "ONNX":
        from pix2seq_model.onnx_runner.detector import OnnxDetector

        return OnnxDetector(place, **options)
    from pix2seq_model.prediction.image_detector import ImageDetector

    return ImageDetector(place, **options)


def find_model(
    place: str, *, trust: bool = False, kinds: Collection[str] = tuple(_KINDS)
) -> tuple[str, str]:
    """What `load` would load: its kind, see `Model`, and where it is. Reads next to nothing.

    Args:
      place, trust: see `load`.
      kinds: those that the caller takes, which a message names; others are found too.

    Raises:
      ModelError: there is no model, or it is not trusted.
      UnavailableError: it is in a bucket that cannot be reached.
    """
    folder = epath.Path(place)
    check_reachable(place)
    if is_checkpoint(place):
        return "checkpoint", place
    if not folder.is_dir():
        raise ModelError(f"{place}: no such folder. {_kinds_text(kinds)}")
    if (folder / ONNX_FILE).exists():
        return "ONNX", place
    version = find_pushed_version(folder)
    if (folder / MODEL_FILE).exists() or version is not None:
        try:
            found = find_model_folder(place)
        except ModelError:
            # A version of an older kind, whose model folder is gone: its graph is all there is.
            if version is None or not (epath.Path(version) / GRAPH_FILE).exists():
                raise
            require_trust(version, trust=trust)
            return "SavedModel", version
        read_model_info(found)  # What is damaged is said before TensorFlow is loaded.
        return "model folder", found
    if not (folder / GRAPH_FILE).exists():
        raise ModelError(f"{place} is no model. {_kinds_text(kinds)}")
    require_trust(place, trust=trust)
    return "SavedModel", place


def _kinds_text(kinds: Collection[str]) -> str:
    *first, last = [text for kind, text in _KINDS.items() if kind in kinds]
    return f"Give {', '.join(first)}, or {last}."


@contextlib.contextmanager
def _missing_packages_named() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _PACKAGES:
            raise
        raise ConfigError(
            f"the package {package} is not installed, which this kind of model needs: pip install "
            f"'.[{_PACKAGES[package]}]' in this project's folder"
        ) from None


def _import_checkpoint(place: str, folder: str, categories: str | Mapping[int, str]) -> None:
    from pix2seq_model.published.import_checkpoint import import_checkpoint

    if isinstance(categories, Mapping):
        rows = [{"id": number, "name": name} for number, name in categories.items()]
        categories = os.path.join(folder, "categories.json")
        write_json(categories, {"categories": rows})
    import_checkpoint(place, folder, categories=categories)
    if not read_model_info(folder).categories:
        raise ModelError(
            f"{place}: a checkpoint holds no names of its categories, and without them nothing "
            f"can be found: give {argument('categories')}, an annotation file in COCO's format or "
            "an examples folder; from Python names by id too (COCO's are in "
            "pix2seq_model.published.coco_categories)."
        )
