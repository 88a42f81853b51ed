"""The frames of video files and of cameras, one after the other, as images.

PyAV reads them. It is imported when the first video is opened: who has none needs no package for
it.
"""

import contextlib
import dataclasses
import functools
import importlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from pix2seq_model.argument_names import argument_name
from pix2seq_model.data.image_check import ImageDefect, pixels_held
from pix2seq_model.data.path_pattern import PathPattern
from pix2seq_model.errors import ConfigError, DataError, UserError
from pix2seq_model.prediction.image_sources import (
    EndingFilter,
    ImageSource,
    is_pattern,
    unique_name,
)
from pix2seq_model.regular_file import irregular_kind

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".ogv"),
)
# At most, while a frame becomes RGB and is turned.
_BYTES_PER_PIXEL = 12
_DEFAULT_RATE = Fraction(25)  # of what does not say how many frames a second it has
# How FFmpeg reaches a camera by its number, by `sys.platform`: what to open, and with which format.
_CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation")}


@dataclasses.dataclass(frozen=True)
class FrameSource(ImageSource):
    """A frame of a video: an image whose pixels are there already.

    Attributes:
      video: the video's name.
      number: of the frame in its video, the first is 1.
      seconds: from the first frame to this one.
      image_id: in the results.
      read_again: decodes the frame again, where its pixels were not kept; a camera's cannot be.
    """

    video: str = ""
    number: int = 0
    seconds: float = 0.0
    image_id: int = 0
    read_again: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
    """A video file, or a camera.

    Attributes:
      name: what its frames are called by, unique among the videos.
      location: where it is, for messages.
      every: of so many frames one is looked at, the first of them.
      expected: frames that will be looked at, as far as the file says; None of a camera.
      rate: frames a second of those looked at.
      camera: number of the camera; None of a file.
    """

    name: str
    location: str
    every: int = 1
    expected: int | None = 0
    rate: Fraction = _DEFAULT_RATE
    camera: int | None = None

    def frames(self, *, max_pixels: int | None = None) -> Iterator[FrameSource]:
        """Decodes frame by frame, as they are asked for.

        Where the video cannot be read, or not as far as its header says, the last source raises
        that when it is read.

        Args:
          max_pixels: the frames of a larger video are not decoded.
        """
        number = 0
        try:
            with ffmpeg_errors(), self._open() as container:
                stream = picture_stream(container)
                if max_pixels is not None and stream.width * stream.height > max_pixels:
                    raise ValueError(
                        f"{stream.width}x{stream.height} has more than {max_pixels:,} pixels "
                        f"({argument_name('max_pixels')})"
                    )
                begun: float | None = None
                for number, frame in enumerate(container.decode(stream), start=1):
                    seconds = frame.time
                    if seconds is None:
                        seconds = (number - 1) / (self.every * self.rate)
                    begun = float(seconds) if begun is None else begun
                    if (number - 1) % self.every == 0:
                        yield self._source(frame, number, float(seconds) - begun)
                if not number:
                    raise ValueError("holds no frame")
                if self.camera is None:
                    _check_end(container, stream, number, frame)
        except UserError:
            raise
        except (OSError, ValueError) as error:
            where = f"{self.location}, after frame {number:,}" if number else self.location
            what = "cannot be read to its end" if number else "not a video that can be read"
            failed = functools.partial(_fail, f"{what}: {reason_of(error)}")
            yield FrameSource(self._frame_name(number + 1), where, failed, self.name, number + 1)

    def _source(self, frame: Any, number: int, seconds: float) -> FrameSource:
        pixels = frame_pixels(frame)
        return FrameSource(
            self._frame_name(number),
            f"{self.location}, frame {number:,}",
            lambda: pixels,
            self.name,
            number,
            seconds,
            num_bytes=pixels.nbytes,
            read_again=functools.partial(self._read_again, number, frame.pts),
        )

    def _frame_name(self, number: int) -> str:
        return f"{self.name}_{number:06d}"

    def _open(self) -> AbstractContextManager[Any]:
        return open_camera(self.camera) if self.camera is not None else open_file(self.location)

    def _read_again(self, number: int, pts: int | None) -> np.ndarray:
        if self.camera is not None:
            raise OSError(f"{self.location}: what a camera has seen is not kept")
        with ffmpeg_errors(), self._open() as container:
            stream = picture_stream(container)
            if pts is not None:
                container.seek(pts, stream=stream)  # To the whole picture before it.
            for place, frame in enumerate(container.decode(stream), start=1):
                if place == number if pts is None else frame.pts == pts:
                    return frame_pixels(frame)
        raise OSError(f"{self.location} has no frame {number:,} any more")


def all_frames(
    videos: Sequence[Video], *, first_id: int, max_pixels: int | None = None
) -> Iterator[FrameSource]:
    """The frames of one video after the other, with ids that count on from `first_id`."""
    frames = itertools.chain.from_iterable(video.frames(max_pixels=max_pixels) for video in videos)
    for image_id, frame in enumerate(frames, start=first_id):
        yield dataclasses.replace(frame, image_id=image_id)


def is_video(place: str | os.PathLike) -> bool:
    """Whether a place is called as video files are."""
    return PurePosixPath(os.fspath(place)).suffix.lower() in VIDEO_SUFFIXES


def find_videos(
    places: Sequence[str],
    *,
    every: int = 1,
    cameras: bool = True,
    endings: EndingFilter | None = None,
) -> tuple[list[str], list[Video]]:
    """Tells videos from other places.

    Args:
      places: files, patterns, folders; a number is a camera, unless a file is called so.
      every: of so many frames one is looked at.
      cameras: False takes numbers for names.
      endings: counts what is left out of patterns.

    Returns:
      The places that are none, a local pattern as its files, and the videos.

    Raises:
      DataError: a video or camera is not there, or a pattern has no file.
      ConfigError: the package that reads videos is not installed.
    """
    endings = endings or EndingFilter()
    others: list[str] = []
    found: dict[str, Video] = {}

    def add(name: str, location: str, camera: int | None = None) -> None:
        if camera is None and "://" in location:
            raise DataError(f"{location}: videos are read from this machine alone: copy it here")
        unique = unique_name(name, found)
        video = Video(name=unique, location=location, every=every, camera=camera)
        found[unique] = _probed(video)

    for place in map(os.fspath, places):
        if cameras and place.isascii() and place.isdecimal() and not os.path.exists(place):
            add(f"camera{int(place)}", f"camera {int(place)}", int(place))
        elif "://" in place and not is_video(place):
            others.append(place)  # As it is: each file of a pattern would be asked for by itself.
        elif "://" not in place and is_pattern(place):
            files = endings.files_of(PathPattern(place), also=is_video)
            for file in filter(is_video, files):
                add(PurePosixPath(file).stem, file)
            others += [file for file in files if not is_video(file)]
        elif is_video(place) and not os.path.isdir(place):
            if "://" not in place and not os.path.exists(place):
                raise DataError(f"{place}: no such file or folder")
            add(PurePosixPath(place).stem, place)
        else:
            others.append(place)
    return others, list(found.values())


def _probed(video: Video) -> Video:
    """With what the header says of number and rate of the frames; a damaged file says nothing.

    Raises:
      DataError: the camera cannot be opened.
    """
    try:
        with ffmpeg_errors(), video._open() as container:
            stream = picture_stream(container)
            rate = Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)
            total: int | None = stream.frames
            if not total and container.duration:
                total = round(container.duration / 1_000_000 * rate)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        if video.camera is None:
            return video  # Its frames say so, and the other videos are looked at.
        raise DataError(
            f"{video.location} cannot be opened ({reason_of(error)}): look whether it is connected "
            "and no other program has it, or give another number"
        ) from None
    if video.camera is not None:
        return dataclasses.replace(video, expected=None, rate=rate / video.every)
    return dataclasses.replace(
        video, expected=-(-(total or 0) // video.every), rate=rate / video.every
    )


def pyav() -> Any:
    """The module `av`.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise ConfigError(
            "the package av is not installed, which videos and cameras need: pip install "
            "'.[video]' in this project's folder"
        ) from None


@contextlib.contextmanager
def ffmpeg_errors() -> Iterator[None]:
    """Makes a ValueError of what FFmpeg cannot do: of its errors few are OSError or ValueError."""
    try:
        yield
    except pyav().FFmpegError as error:
        if isinstance(error, OSError | ValueError):
            raise
        raise ValueError(reason_of(error)) from error


def open_file(location: str) -> AbstractContextManager[Any]:
    """A video file, open for decoding; raises OSError or ValueError."""
    if kind := irregular_kind(location):  # FFmpeg would wait for whoever writes a pipe.
        raise ValueError(kind)
    return pyav().open(location)


def open_camera(number: int) -> AbstractContextManager[Any]:
    """A camera of this machine by its number, the first is 0; raises OSError or ValueError."""
    if sys.platform not in _CAMERAS:
        raise OSError("cameras are read on Linux and macOS alone")
    place, kind = _CAMERAS[sys.platform]
    return pyav().open(place.format(number), format=kind)


def picture_stream(container: Any) -> Any:
    """The stream with the pictures; raises ValueError if there is none that can be decoded."""
    if not container.streams.video:
        raise ValueError("holds no pictures")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError("its codec is not known here")
    stream.thread_type = "AUTO"
    return stream


def _check_end(container: Any, stream: Any, number: int, last: Any) -> None:
    """Raises ValueError if the last frame is clearly not the one that the header ends with.

    FFmpeg takes a file that was cut off for one that ends there.
    """
    length = _length(container, stream)
    if length is None or last.time is None:
        return
    start = float((stream.start_time or 0) * stream.time_base)
    shown = float((last.duration or 0) * stream.time_base)
    end = last.time + shown - start
    # Headers are not exact to a frame.
    spare = max(float(2 / (stream.average_rate or _DEFAULT_RATE)), min(1.0, 0.05 * length))
    if end < length - spare:
        raise ValueError(
            f"ends after frame {number:,} at {end:.1f} s, its header says {length:.1f} s: cut off "
            "or damaged"
        )


def _length(container: Any, stream: Any) -> float | None:
    """Seconds of the pictures by the header; None where it does not say."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")  # Matroska's tag
    minutes, _, seconds = rest.partition(":")
    with contextlib.suppress(ValueError):
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    # The longest stream counts, which may be the sound.
    alone = len(container.streams) == 1 and container.duration
    return container.duration / 1_000_000 if alone else None


def frame_pixels(frame: Any) -> np.ndarray:
    """uint8 (height, width, 3), RGB, turned upright as the video says: phones film on their side.

    FFmpeg's angle is the one to turn by against the clock.

    Raises:
      ValueError: this machine has not the memory for it.
    """
    try:
        with pixels_held(frame.width * frame.height * _BYTES_PER_PIXEL):
            pixels = frame.to_ndarray(format="rgb24")
            quarters = round(getattr(frame, "rotation", 0) / 90) % 4
            return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
    except ImageDefect as defect:
        raise ValueError(defect.detail) from None


def reason_of(error: Exception) -> str:
    """What FFmpeg says, without number and place."""
    return str(getattr(error, "strerror", "") or error).splitlines()[0]


def _fail(reason: str) -> np.ndarray:
    raise ValueError(reason)
