"""Detects the objects of a person's own images and shows them.

<output>/detections.json     COCO results; `images.json` says which image an id is
<output>/images.json         {"images": [{id, file_name, width, height}], "categories": [...]}
<output>/unreadable.json     [{"file", "reason"}] of what could not be read
<output>/pictures/...        the images with boxes, names and scores
<output>/contact_sheet.jpg   the first of them on one sheet
<output>/attention/...       if asked for: what the decoder looks at for the first objects
"""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, TextIO

import numpy as np
from etils import epath
from PIL import Image

from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.ground_truth import category_numbers
from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.decoding.detector import Detector
from pix2seq_model.errors import DataError
from pix2seq_model.input_pipeline.image_file import PreparedImage, prepare_image
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.model_folder.pushed import find_model_folder
from pix2seq_model.prediction.image_sources import ImageSource
from pix2seq_model.progress import DetectionProgress
from pix2seq_model.reports import drawing
from pix2seq_model.reports.attention_pictures import (
    AttentionReader,
    attention_sheet,
)

_SHEET_PICTURES = 60
_THREADS = 8  # reading may wait for a network


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was done.

    Attributes:
      num_images: images that were read.
      num_detections: detections written.
      unreadable: (location, reason) of images that could not be read.
    """

    num_images: int
    num_detections: int
    unreadable: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class _Loaded:
    source: ImageSource
    image_id: int
    prepared: PreparedImage


def predict(
    model_dir: epath.PathLike,
    sources: Sequence[ImageSource],
    *,
    output_dir: epath.PathLike,
    score_threshold: float = 0.3,
    batch_size: int = 8,
    draw: bool = True,
    attention: bool = False,
    precision: str = "float32",
    stream: TextIO | None = None,
    **decoding: Any,
) -> Prediction:
    """Runs a model folder on images and writes what it finds.

    Args:
      model_dir: model folder, or a version pushed from one.
      sources: the images.
      output_dir: folder to write.
      score_threshold: detections of a lower score are neither written nor drawn.
      batch_size: images decoded together.
      draw: write pictures and the contact sheet too.
      attention: write pictures of where in the image the decoder looks, too.
      precision: of the network, "float32" or "bfloat16".
      stream: where to show progress; standard error if None.
      **decoding: other settings than the model folder's, see `Detector`.

    Raises:
      ModelError: the model folder cannot be used.
      DataError: not one image can be read.
    """
    network, info = load_model_folder(find_model_folder(model_dir), precision=precision)
    numbers = category_numbers(info.categories)
    names = {numbers[class_id]: name for class_id, name in info.category_names.items()}
    decoding = {"batch_size": batch_size, **info.decoding_with(decoding)}
    detector = Detector(network, **decoding)
    reader = AttentionReader(network, names=info.category_names, **decoding) if attention else None
    output = epath.Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    unreadable: list[tuple[str, str]] = []
    sheet: list[tuple[str, Image.Image]] = []
    progress = DetectionProgress("detecting", total=len(sources), stream=stream)
    done = 0
    for batch, failed, count in _batches(sources, info.model.image_size, batch_size):
        unreadable += failed
        if batch:
            found = detector.detect(
                np.stack([loaded.prepared.image for loaded in batch]),
                image_ids=[loaded.image_id for loaded in batch],
                source_size=np.array(
                    [(loaded.prepared.height, loaded.prepared.width) for loaded in batch]
                ),
                content_size=np.stack([loaded.prepared.content_size for loaded in batch]),
                category_numbers=numbers,
            )
            found = [row for row in found if row["score"] >= score_threshold]
            rows += found
            for loaded in batch:
                images.append(_image_row(loaded))
                if draw:
                    own = [row for row in found if row["image_id"] == loaded.image_id]
                    picture = _write_picture(output, loaded, own, names)
                    if len(sheet) < _SHEET_PICTURES:
                        picture.thumbnail((480, 480))
                        sheet.append((loaded.source.name, picture))
                if reader is not None:
                    _write_attention(output, loaded, reader, score_threshold)
        done += count
        progress.update(done)
    progress.close()

    listed = [{"file": location, "reason": reason} for location, reason in unreadable]
    write_json(output / "unreadable.json", listed)
    if not images:
        location, reason = unreadable[0]
        raise DataError(
            f"none of {len(sources)} images can be read, see {output / 'unreadable.json'}; "
            f"the first: {location}: {reason}"
        )
    categories = [{"id": class_id, "name": name} for class_id, name in sorted(names.items())]
    write_json(output / "images.json", {"images": images, "categories": categories})
    write_json(output / "detections.json", rows)
    if sheet:
        captions, pictures = zip(*sheet)
        page = drawing.contact_sheet(pictures, captions=captions)
        write_atomically(output / "contact_sheet.jpg", drawing.jpeg_bytes(page))
    return Prediction(len(images), len(rows), tuple(unreadable))


def image_numbers(sources: Sequence[ImageSource]) -> list[int]:
    """Ids for COCO's formats: the files' own numbers (000000397133.jpg) if all have one, else 1...

    With COCO's own file names the results can be evaluated against COCO's annotations.
    """
    stems = [PurePosixPath(source.name).stem for source in sources]
    if all(stem.isascii() and stem.isdecimal() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(sources) + 1))


def _batches(
    sources: Sequence[ImageSource], image_size: tuple[int, int], batch_size: int
) -> Iterator[tuple[list[_Loaded], list[tuple[str, str]], int]]:
    """Yields images read and prepared, those that failed, and how many sources that were."""
    numbered = zip(sources, image_numbers(sources))
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:

        def start() -> list[tuple[ImageSource, concurrent.futures.Future]]:
            chunk = itertools.islice(numbered, batch_size)
            return [(s, pool.submit(_load, s, number, image_size)) for s, number in chunk]

        coming = start()
        while coming:
            # The next images are read while this batch is decoded.
            current, coming = coming, start()
            loaded, failed = [], []
            for source, future in current:
                try:
                    loaded.append(future.result())
                except ImageDefect as defect:
                    failed.append((source.location, defect.detail))
                except (OSError, ValueError) as error:
                    failed.append((source.location, _reason(error)))
            yield loaded, failed, len(current)


def _load(source: ImageSource, image_id: int, image_size: tuple[int, int]) -> _Loaded:
    return _Loaded(source, image_id, prepare_image(source.read(), image_size=image_size))


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _image_row(loaded: _Loaded) -> dict[str, Any]:
    return {
        "id": loaded.image_id,
        "file_name": loaded.source.name,
        "width": loaded.prepared.width,
        "height": loaded.prepared.height,
    }


def _write_attention(
    output: epath.Path, loaded: _Loaded, reader: AttentionReader, score_threshold: float
) -> None:
    """Writes the sheet of an image in which something was found."""
    sheet = attention_sheet(reader.of_found(loaded.prepared, score_threshold=score_threshold))
    if sheet is None:
        return
    path = output / "attention" / f"{loaded.source.name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, drawing.jpeg_bytes(sheet, quality=90))


def _write_picture(
    output: epath.Path, loaded: _Loaded, rows: list[dict[str, Any]], names: dict[int, str]
) -> Image.Image:
    picture = drawing.draw_boxes(
        Image.fromarray(loaded.prepared.pixels), drawing.detection_boxes(rows, names)
    )
    path = output / "pictures" / f"{loaded.source.name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, drawing.jpeg_bytes(picture, quality=90))
    return picture
