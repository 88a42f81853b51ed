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
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, TextIO

from etils import epath
from PIL import Image

from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.decoding.attention_maps import ImageAttention
from pix2seq_model.decoding.attention_reader import AttentionReader
from pix2seq_model.errors import DataError
from pix2seq_model.input_pipeline.image_file import PreparedImage
from pix2seq_model.model_folder.pushed import find_model_folder
from pix2seq_model.prediction.image_detector import ImageDetector
from pix2seq_model.prediction.image_sources import ImageSource
from pix2seq_model.progress import DetectionProgress
from pix2seq_model.reports import drawing
from pix2seq_model.reports.attention_pictures import attention_sheet

_SHEET_PICTURES = 60
_THREADS = 8  # reading may wait for a network


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was done.

    Attributes:
      num_images: images that were read.
      num_detections: detections written.
      num_turned: images that were turned upright, as EXIF says; so are their boxes.
      unreadable: (location, reason) of images that could not be read.
    """

    num_images: int
    num_detections: int
    num_turned: int
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
    max_pixels: int = MAX_PIXELS,
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
      max_pixels: larger images are left out, before they are decoded.
      stream: where to show progress; standard error if None.
      **decoding: other settings than the model folder's, see `Detector`.

    Raises:
      ModelError: the model folder cannot be used.
      DataError: not one image can be read.
    """
    detector = ImageDetector(
        find_model_folder(model_dir), batch_size=batch_size, precision=precision, **decoding
    )
    reader = None
    if attention:
        settings = detector.info.decoding_with(decoding)
        names = detector.info.category_names
        reader = AttentionReader(detector.network, names=names, batch_size=batch_size, **settings)
    found = _Found(epath.Path(output_dir), detector.category_names)
    progress = DetectionProgress("detecting", total=len(sources), stream=stream)
    done = 0
    prepare = functools.partial(detector.prepare, max_pixels=max_pixels)
    for batch, failed in _batches(sources, prepare, batch_size):
        found.unreadable += failed
        detected = detector.detect([loaded.prepared for loaded in batch]) if batch else []
        for loaded, rows in zip(batch, detected, strict=True):
            rows = [row for row in rows if row["score"] >= score_threshold]
            found.add(loaded, rows, draw=draw)
            if reader is not None:
                seen = reader.read(
                    loaded.prepared, image_id=loaded.image_id, score_threshold=score_threshold
                )
                found.add_attention(loaded, seen)
        done += len(batch) + len(failed)
        progress.update(done)
    progress.close()
    found.write()
    return Prediction(len(found.images), len(found.rows), found.num_turned, tuple(found.unreadable))


class _Found:
    """What was found so far; pictures are written at once, lists at the end."""

    def __init__(self, output: epath.Path, names: dict[int, str]) -> None:
        self.images: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.unreadable: list[tuple[str, str]] = []
        self.num_turned = 0
        self._output, self._names = output, names
        self._sheet: list[tuple[str, Image.Image]] = []
        output.mkdir(parents=True, exist_ok=True)
        _remove_pictures(output)

    def add(self, loaded: _Loaded, rows: list[dict[str, Any]], *, draw: bool) -> None:
        """Adds an image with its detections and draws them."""
        name, image = loaded.source.name, loaded.prepared
        size = {"width": image.width, "height": image.height}
        self.num_turned += image.is_turned
        self.images.append({"id": loaded.image_id, "file_name": name, **size})
        self.rows += [{"image_id": loaded.image_id, **row} for row in rows]
        if draw:
            boxes = drawing.detection_boxes(rows, self._names)
            picture = drawing.draw_boxes(Image.fromarray(image.pixels), boxes)
            self._write_picture("pictures", name, picture)
            if len(self._sheet) < _SHEET_PICTURES:
                picture.thumbnail((480, 480))
                self._sheet.append((name, picture))

    def add_attention(self, loaded: _Loaded, attention: ImageAttention) -> None:
        """Writes the attention of an image in which something was found."""
        sheet = attention_sheet(Image.fromarray(loaded.prepared.pixels), attention)
        if sheet is not None:
            self._write_picture("attention", loaded.source.name, sheet)

    def write(self) -> None:
        """Writes the lists and the contact sheet.

        Raises:
          DataError: there is no image.
        """
        listed = [{"file": location, "reason": reason} for location, reason in self.unreadable]
        write_json(self._output / "unreadable.json", listed)
        if not self.images:
            location, reason = self.unreadable[0]
            raise DataError(
                f"none of {len(self.unreadable)} images can be read, see "
                f"{self._output / 'unreadable.json'}; the first: {location}: {reason}"
            )
        categories = [{"id": number, "name": name} for number, name in sorted(self._names.items())]
        write_json(self._output / "images.json", {"images": self.images, "categories": categories})
        write_json(self._output / "detections.json", self.rows)
        if self._sheet:
            captions, pictures = zip(*self._sheet)
            page = drawing.contact_sheet(pictures, captions=captions)
            write_atomically(self._output / "contact_sheet.jpg", drawing.jpeg_bytes(page))

    def _write_picture(self, folder: str, name: str, picture: Image.Image) -> None:
        path = self._output / folder / f"{name}.jpg"
        write_atomically(path, drawing.jpeg_bytes(picture, quality=90))


def _remove_pictures(output: epath.Path) -> None:
    """Removes the pictures that an earlier run wrote: those of the images that it lists."""
    try:
        listed = json.loads((output / "images.json").read_text())["images"]
        names = [row["file_name"] for row in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return  # Nothing of ours.
    paths = [output / kind / f"{name}.jpg" for kind in ("pictures", "attention") for name in names]
    for path in (*paths, output / "contact_sheet.jpg"):
        path.unlink(missing_ok=True)


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
    sources: Sequence[ImageSource], prepare: Callable[[bytes], PreparedImage], batch_size: int
) -> Iterator[tuple[list[_Loaded], list[tuple[str, str]]]]:
    """Yields images read and prepared, and those that failed."""
    numbered = zip(sources, image_numbers(sources))
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:

        def start() -> list[tuple[ImageSource, concurrent.futures.Future]]:
            chunk = itertools.islice(numbered, batch_size)
            return [(s, pool.submit(_load, s, number, prepare)) for s, number in chunk]

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
                    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                    failed.append((source.location, reason))
            yield loaded, failed


def _load(source: ImageSource, image_id: int, prepare: Callable[[bytes], PreparedImage]) -> _Loaded:
    return _Loaded(source, image_id, prepare(source.read()))
