"""Detects the objects of a person's own images and shows them; `output_folder` says where."""

import contextlib
import dataclasses
import functools
import itertools
import statistics
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, TextIO

import numpy as np
from etils import epath
from PIL import Image

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.decoding.attention_maps import ImageAttention
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.model_folder.thresholds import DEFAULT_SCORE
from pix2seq_model.prediction.detect_images import (
    ImageModel,
    PreparedImage,
    detect_images,
    pixels_of,
)
from pix2seq_model.prediction.image_sources import ImageSource
from pix2seq_model.prediction.output_folder import LINES, OutputFolder
from pix2seq_model.prediction.results import Result, image_numbers
from pix2seq_model.prediction.tiling import TiledModel
from pix2seq_model.prediction.video_frames import FrameSource, Video, all_frames, reason_of
from pix2seq_model.prediction.video_output import AnnotatedVideos
from pix2seq_model.progress import DetectionProgress
from pix2seq_model.reports import drawing
from pix2seq_model.reports.attention_pictures import attention_sheet

_SHEET_PICTURES = 60


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was done.

    Attributes:
      num_images: images that were read, frames of videos among them.
      num_frames: frames among them.
      num_detections: detections written.
      num_turned: images that were turned upright, as EXIF says; so are their boxes.
      num_below: detections with lower scores than asked for.
      best_score: of all detections, lower scores too; None without any.
      milliseconds: median of what the model took for an image, without the first batch (which
        compiles it) if there were more.
      unreadable: (location, reason) of images that could not be read, or drawn.
    """

    num_images: int
    num_frames: int
    num_detections: int
    num_turned: int
    num_below: int
    best_score: float | None
    milliseconds: float
    unreadable: tuple[tuple[str, str], ...]


def predict(
    load_model: Callable[[], ImageModel],
    sources: Sequence[ImageSource],
    *,
    videos: Sequence[Video] = (),
    output_dir: epath.PathLike,
    score_threshold: float = DEFAULT_SCORE,
    draw: bool = True,
    attention: bool = False,
    tile: int = 0,
    formats: Sequence[str] = ("coco",),
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    stream: TextIO | None = None,
    **facts: Any,
) -> Prediction:
    """Runs a model on images and writes what it finds, each image as soon as it is done.

    Of videos each frame is an image; no more than a few batches of them are in memory.

    Args:
      load_model: called once the output is known to be possible.
      sources: the images.
      videos: looked at after them.
      output_dir: folder to write.
      score_threshold: detections of a lower score are neither written nor drawn.
      draw: write pictures and the contact sheet too; of videos, videos.
      attention: write pictures of where in the image the decoder looks, too.
      tile: see `TiledModel`; 0 is off.
      formats: of `output_folder.FORMATS`; COCO's files are always written.
      overwrite: see `OutputFolder`.
      max_pixels: larger images are left out, before they are decoded.
      stream: where to show progress; standard error if None.
      **facts: noted in the output folder, such as the model.

    Raises:
      ModelError: the model cannot be used.
      ConfigError: settings that do not go together.
      DataError: the output cannot be written, an input is what an earlier run wrote there, or not
        one image can be read.
      KeyboardInterrupt: as it came, with what was done written and said.
    """
    if attention and tile:
        raise ConfigError("--attention shows the whole image: leave out --tile, or --attention.")
    output = OutputFolder(output_dir, formats=formats, overwrite=overwrite)
    locations = [source.location for source in sources]
    output.check([*locations, *(video.location for video in videos)])
    model = load_model()
    # Whatever is refused is refused before an earlier run's results go.
    looking = TiledModel(model, tile=tile) if tile else model
    reader = _attention_reader(model) if attention else None
    output.begin(score_threshold=score_threshold, **facts)
    read_pixels = functools.partial(pixels_of, model=model, max_pixels=max_pixels)
    found = _Found(output, sources, videos, draw=draw, read_pixels=read_pixels)
    total = _total(sources, videos)
    progress = DetectionProgress("detecting", total=total, stream=stream)
    frames = all_frames(videos, first_id=len(sources) + 1, max_pixels=max_pixels)
    categories = dict(model.category_names)
    try:
        results = detect_images(
            looking,
            itertools.chain(sources, frames),
            score=score_threshold,
            max_pixels=max_pixels,
            keep_pixels=draw or attention,
        )
        done = 0
        for source, prepared, result in results:  # `enumerate` would keep one longer.
            seen = None
            if reader is not None and prepared is not None:
                image_id = found.id_of(source)
                seen = reader.read(prepared, image_id=image_id, score_threshold=score_threshold)
            found.add(source, prepared, result, seen)
            progress.update(done := done + 1)
            del prepared  # Its pixels do not count any more when the next image comes.
        progress.close()
        found.finish(dict(model.category_names), complete=True)
    except BaseException as error:
        where = f"{output.place}"
        try:
            found.finish(categories, complete=False)
        except (OSError, DataError) as second:  # The lines are there nevertheless.
            where = f"{output.place / LINES}, without lists of it ({reason_of(second)})"
        of_all = "" if total is None else f" of {total}"
        done_so_far = f"what was found in {found.num_images}{of_all} images is in"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(
                f"{done_so_far} {where}; the same command starts again from the beginning"
            ) from None
        if isinstance(error, OSError):
            raise DataError(
                f"{output.place} cannot be written any more ({error.strerror or error}): "
                f"{done_so_far} its {LINES}; free some space there if it is full, and run the same "
                "command again, which starts from the beginning"
            ) from error
        raise
    return found.summary()


def _total(sources: Sequence[ImageSource], videos: Sequence[Video]) -> int | None:
    """Images and frames, as far as the videos say how many they have; None with a camera."""
    total = len(sources)
    for video in videos:
        if video.expected is None:
            return None
        total += video.expected
    return total


def _attention_reader(model: ImageModel) -> Any:
    from pix2seq_model.decoding.attention_reader import AttentionReader
    from pix2seq_model.prediction.image_detector import ImageDetector

    if not isinstance(model, ImageDetector):
        raise ConfigError(
            "--attention needs a model folder: SavedModels and exported models do not return it."
        )
    return AttentionReader(
        model.network,
        names=model.info.category_names,
        batch_size=model.batch_size,
        **model.decoding,
    )


class _Found:
    """What was found so far; of thousands of images only numbers are kept in memory."""

    def __init__(
        self,
        output: OutputFolder,
        sources: Sequence[ImageSource],
        videos: Sequence[Video],
        *,
        draw: bool,
        read_pixels: Callable[
            [ImageSource, PreparedImage], contextlib.AbstractContextManager[np.ndarray]
        ],
    ) -> None:
        names = [source.name for source in sources]
        # Next to frames, which have no number of their own, images have none either.
        numbers = range(1, len(names) + 1) if videos else image_numbers(names)
        self._image_ids = dict(zip(names, numbers))
        self._videos = AnnotatedVideos(output, {video.name: video.rate for video in videos})
        self._begun: set[str] = set()  # Videos with a line that names their file.
        self.num_images = self.num_frames = self.num_detections = self.num_turned = (
            self.num_below
        ) = 0
        self.best_score: float | None = None
        self.unreadable: list[tuple[str, str]] = []
        self._output, self._draw, self._read_pixels = output, draw, read_pixels
        self._milliseconds: list[float] = []
        self._label_files: set[str] = set()
        self._sheet: list[tuple[str, Image.Image]] = []

    def id_of(self, source: ImageSource) -> int:
        """Of an image in the results."""
        if isinstance(source, FrameSource):
            return source.image_id
        return self._image_ids[source.name]

    def add(
        self,
        source: ImageSource,
        prepared: PreparedImage | None,
        result: Result,
        attention: ImageAttention | None,
    ) -> None:
        """Writes an image's line, then its pictures."""
        if prepared is None:
            self._failed(source, result.error)
            return
        with contextlib.ExitStack() as stack:
            picture = None
            if self._draw or attention is not None:
                try:
                    pixels = stack.enter_context(self._read_pixels(source, prepared))
                    picture = Image.fromarray(pixels)
                except OSError as error:
                    self._failed(source, f"cannot be read again to be drawn: {error}")
            self._add(source, result, picture, attention)

    def _add(
        self,
        source: ImageSource,
        result: Result,
        picture: Image.Image | None,
        attention: ImageAttention | None,
    ) -> None:
        image_id = self.id_of(source)
        frame = source if isinstance(source, FrameSource) else None
        rows = result.to_coco(image_id=image_id)
        line: dict[str, Any] = {
            "id": image_id,
            "file_name": source.name,
            "width": result.width,
            "height": result.height,
            "milliseconds": round(result.milliseconds, 3),
            "detections": rows,
        }
        if frame is not None:
            line |= {"video": frame.video, "frame": frame.number}
            line["seconds"] = round(frame.seconds, 3)
        files: dict[str, Callable[[], bytes | str]] = {}
        path_of = self._output.path_of
        if "csv" in self._output.formats:
            line["csv"] = result.to_csv(image_id=image_id, header=False)
        if "yolo" in self._output.formats:
            files[self._label_file(source)] = result.to_yolo
        drawn = picture if self._draw else None
        boxes = drawing.detection_boxes(rows, dict(zip(result.category_ids, result.names)))
        if drawn is not None and frame is None:
            files[path_of("pictures", source.name, ".jpg")] = lambda: self._drawn(
                source.name, drawing.draw_boxes(drawn, boxes)
            )
        sheet = attention_sheet(picture, attention) if attention and picture else None
        if sheet is not None:
            files[path_of("attention", source.name, ".jpg")] = lambda: drawing.jpeg_bytes(
                sheet, quality=90
            )
        begins = [self._videos.path_of(frame)] if frame is not None and drawn is not None else []
        begins = [path for path in begins if path not in self._begun]
        self._begun.update(begins)
        self._output.add({**line, "files": [*files, *begins]})
        self._count(result)
        self.num_frames += frame is not None
        for relative, content in files.items():
            try:
                self._output.write(relative, content())
            except OSError as error:
                reason = error.strerror or str(error)
                self._failed(source, f"{relative} cannot be written: {reason}")
        if frame is not None and drawn is not None:
            try:
                self._videos.add(frame, drawing.draw_boxes(drawn, boxes))
            except (OSError, ValueError) as error:
                relative = self._videos.path_of(frame)
                self._failed(source, f"{relative} cannot be written: {reason_of(error)}")

    def _label_file(self, source: ImageSource) -> str:
        """As YOLO's tools look for it: called as the image; with its ending if another has it."""
        name = source.name
        if isinstance(source, FrameSource):  # Without an ending, and unique among frames.
            path = self._output.path_of("labels", name, ".txt")
            taken = path in self._label_files
            return self._output.path_of("labels", f"{name}_frame", ".txt") if taken else path
        path = self._output.path_of("labels", str(PurePosixPath(name).with_suffix("")), ".txt")
        if path in self._label_files:
            path = self._output.path_of("labels", name, ".txt")
        self._label_files.add(path)
        return path

    def _drawn(self, name: str, picture: Image.Image) -> bytes:
        encoded = drawing.jpeg_bytes(picture, quality=90)
        if len(self._sheet) < _SHEET_PICTURES:
            picture.thumbnail((480, 480))
            self._sheet.append((name, picture))
        return encoded

    def _failed(self, source: ImageSource, reason: str) -> None:
        self.unreadable.append((source.location, reason))
        self._output.add({"location": source.location, "error": reason})

    def _count(self, result: Result) -> None:
        self.num_images += 1
        self.num_detections += len(result)
        self.num_below += result.num_below
        self.num_turned += result.is_turned
        if result.best_score is not None:
            self.best_score = max(result.best_score, self.best_score or 0.0)
        self._milliseconds.append(result.milliseconds)

    def finish(self, categories: dict[int, str], *, complete: bool) -> None:
        """Writes the lists and the contact sheet.

        Raises:
          DataError: there is no image.
        """
        try:
            self._videos.close()
        except (OSError, ValueError) as error:
            self.unreadable.append(("the last video", f"cannot be finished: {reason_of(error)}"))
        summary = dataclasses.asdict(self.summary()) if self.num_images else {}
        summary.pop("unreadable", None)
        self._output.finish(categories, complete=complete, **summary)
        if complete and not self.num_images:
            if not self.unreadable:
                raise DataError("there was no image to look at")
            location, reason = self.unreadable[0]
            raise DataError(
                f"none of {len(self.unreadable)} images can be read, see "
                f"{self._output.place / 'unreadable.json'}; the first: {location}: {reason}"
            )
        if self._sheet:
            captions, pictures = zip(*self._sheet)
            page = drawing.contact_sheet(pictures, captions=captions)
            path = self._output.place / "contact_sheet.jpg"
            write_atomically(path, drawing.jpeg_bytes(page))

    def summary(self) -> Prediction:
        """What was done so far."""
        # All images of the first batch took as long as each other.
        later = [ms for ms in self._milliseconds if ms != self._milliseconds[0]]
        return Prediction(
            self.num_images,
            self.num_frames,
            self.num_detections,
            self.num_turned,
            self.num_below,
            self.best_score,
            statistics.median(later or self._milliseconds or [0.0]),
            tuple(self.unreadable),
        )
