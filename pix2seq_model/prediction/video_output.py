"""Videos of the frames with their boxes, in the folder that `predict` writes."""

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from pix2seq_model.atomic_write import atomic_path
from pix2seq_model.prediction.output_folder import OutputFolder
from pix2seq_model.prediction.video_frames import FrameSource, ffmpeg_errors, pyav

# H.264 plays in every browser; FFmpeg's own encoder is for builds without it.
_ENCODERS = ("libx264", "mpeg4")
# A second; MPEG-4 has at most 65,535. Frames of all usual rates last whole ones, or end in halves.
_TICKS = 60_000


class AnnotatedVideo:
    """An MP4 file that is written picture by picture; each is shown when its frame was.

    Raises OSError or ValueError where it cannot be written.
    """

    @ffmpeg_errors()
    def __init__(self, path: Path, *, size: tuple[int, int], rate: Fraction) -> None:
        """
        Args:
          path: file to write.
          size: width and height in pixels; odd ones lose a line, which H.264 cannot hold.
          rate: frames a second, as a hint.
        """
        av = pyav()
        encoder = next((name for name in _ENCODERS if name in av.codecs_available), None)
        if encoder is None:
            raise ValueError(f"FFmpeg has no encoder of {', '.join(_ENCODERS)} here")
        self._frame_type = av.VideoFrame
        self._container: Any = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream(encoder, rate=rate.limit_denominator(10_000))
        self._size = (max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2))
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._shown_at = -1

    @ffmpeg_errors()
    def add(self, picture: Image.Image, *, seconds: float) -> None:
        """A picture, shown `seconds` after the first; one of another size is scaled."""
        wide, high = self._size
        if 0 <= picture.width - wide <= 1 and 0 <= picture.height - high <= 1:
            picture = picture.crop((0, 0, wide, high))
        else:
            picture = picture.resize(self._size)
        frame = self._frame_type.from_image(picture)
        # Times that do not rise, as of a damaged file, are no film.
        self._shown_at = max(self._shown_at + 1, round(seconds * _TICKS))
        frame.pts, frame.time_base = self._shown_at, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    @ffmpeg_errors()
    def close(self) -> None:
        """Writes what the encoder holds back, and the file's index."""
        try:
            self._container.mux(self._stream.encode())
        finally:
            self._container.close()


class AnnotatedVideos:
    """The annotated videos of a run, one after the other."""

    def __init__(self, output: OutputFolder, rates: dict[str, Fraction]) -> None:
        """
        Args:
          output: folder to write.
          rates: frames a second, by the videos' names.
        """
        self._output, self._rates = output, rates
        self._name = ""
        self._video: AnnotatedVideo | None = None
        self._file = contextlib.ExitStack()

    def path_of(self, frame: FrameSource) -> str:
        """Where the video of a frame goes, relative to the output folder."""
        return self._output.path_of("videos", frame.video, ".mp4")

    def add(self, frame: FrameSource, picture: Image.Image) -> None:
        """Adds a frame with its boxes; a frame of another video closes the one before.

        Raises:
          OSError, ValueError: a video cannot be written; it is given up.
        """
        if frame.video != self._name:
            self.close()
        try:
            if frame.video != self._name:
                self._name = frame.video
                place = self._output.place / self.path_of(frame)
                path = self._file.enter_context(atomic_path(place))
                rate = self._rates[frame.video]
                self._video = AnnotatedVideo(path, size=picture.size, rate=rate)
            if self._video is not None:
                self._video.add(picture, seconds=frame.seconds)
        except (OSError, ValueError) as error:
            self._give_up(error)
            raise

    def close(self) -> None:
        """Finishes the video that is being written, with the frames that it has.

        Raises:
          OSError, ValueError: it cannot be written; it is given up.
        """
        video, self._video = self._video, None
        if video is None:
            return
        try:
            video.close()
        except (OSError, ValueError) as error:
            self._give_up(error)
            raise
        self._file.close()

    def _give_up(self, error: Exception) -> None:
        """Leaves nothing of the file; the rest of its frames are not drawn."""
        video, self._video = self._video, None
        with contextlib.suppress(OSError, ValueError):
            if video is not None:
                video.close()
        self._file.__exit__(type(error), error, error.__traceback__)
