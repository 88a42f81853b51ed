"""Videos of the frames with their boxes."""

import io
import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from pix2seq_model.errors import DataError
from pix2seq_model.prediction import predict as predicting
from pix2seq_model.prediction import video_frames, video_output
from pix2seq_model.prediction.image_sources import find_images
from pix2seq_model.prediction.video_frames import find_videos
from pix2seq_model.prediction.video_output import AnnotatedVideo
from tests.fixtures.records import jpeg
from tests.fixtures.videos import fake_camera, of_unknown_codec, read_video, write_video


class _Picture:
    """An image as `Boxed` takes it."""

    is_turned = False

    def __init__(self, pixels):
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]


class Boxed:
    """A model that sees one thing, as wide as half of the image, in every image."""

    batch_size, needs_pixels = 2, False
    category_names = {7: "thing"}  # noqa: RUF012

    def prepare(self, encoded, **limits):
        return _Picture(np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))

    def prepare_pixels(self, pixels, *, keep_pixels=True):
        return _Picture(pixels)

    def detect(self, images, *, alone=False):
        return [
            [{"category_id": 7, "bbox": [2.0, 2.0, image.width / 2, 20.0], "score": 0.5}]
            for image in images
        ]


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", frames=5)


def _predict(tmp_path, *places, every=1, **options):
    stills, videos = find_videos([str(place) for place in places], every=every)
    sources = find_images(stills) if stills else []
    stream = io.StringIO()
    done = predicting.predict(
        Boxed, sources, videos=videos, output_dir=tmp_path / "out", stream=stream, **options
    )
    return done, stream.getvalue()


def _json(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("encoder", video_output._ENCODERS)
def test_a_picture_is_shown_when_its_frame_was(tmp_path, monkeypatch, encoder):
    monkeypatch.setattr(video_output, "_ENCODERS", (encoder,))
    path = tmp_path / "x.mp4"
    video = AnnotatedVideo(path, size=(65, 49), rate=Fraction(30000, 1001))
    for seconds in (0, 0.1, 0.5, 0.5):  # As a phone films: not evenly, and once a time twice.
        video.add(Image.new("RGB", (65, 49), "red"), seconds=seconds)
    video.add(Image.new("RGB", (30, 30), "blue"), seconds=0.75)
    video.close()
    pixels, seconds, _ = read_video(path)
    assert seconds == [0, 0.1, 0.5, 0.5, 0.75]
    assert {frame.shape for frame in pixels} == {(48, 64, 3)}
    assert pixels[0].mean(axis=(0, 1)).argmax() == 0
    assert pixels[4].mean(axis=(0, 1)).argmax() == 2


def test_without_an_encoder_the_results_are_there(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(video_output, "_ENCODERS", ("none",))
    done, _ = _predict(tmp_path, clip)
    assert done.num_detections == 5
    ((_, reason),) = done.unreadable
    assert "no encoder of none" in reason


def test_each_frame_has_its_line_and_the_video_its_boxes(tmp_path, clip):
    done, said = _predict(tmp_path, clip, formats=("coco", "yolo", "csv"))
    out = tmp_path / "out"
    assert (done.num_images, done.num_frames, done.num_detections) == (5, 5, 5)
    assert "detecting: 5/5 (100%)" in said
    images = _json(out / "images.json")["images"]
    assert images[1] == {
        "id": 2,
        "file_name": "clip_000002",
        "width": 64,
        "height": 48,
        "video": "clip",
        "frame": 2,
        "seconds": 0.2,
    }
    assert [row["image_id"] for row in _json(out / "detections.json")] == [1, 2, 3, 4, 5]
    assert {path.name for path in (out / "labels").iterdir()} == {
        f"clip_{number:06d}.txt" for number in range(1, 6)
    }
    assert (out / "detections.csv").read_text().count("clip_00000") == 5
    pixels, seconds, rate = read_video(out / "videos/clip.mp4")
    assert (seconds, rate) == ([0, 0.2, 0.4, 0.6, 0.8], 5)
    # The film is grey, its boxes are not.
    assert all(np.ptp(frame.astype(int), axis=2).max() > 60 for frame in pixels)
    assert not (out / "pictures").exists()


def test_of_so_many_frames_one_is_looked_at_and_shown(tmp_path, clip):
    done, _ = _predict(tmp_path, clip, every=2)
    assert done.num_frames == 3
    images = _json(tmp_path / "out/images.json")["images"]
    assert [row["file_name"] for row in images] == ["clip_000001", "clip_000003", "clip_000005"]
    assert read_video(tmp_path / "out/videos/clip.mp4")[1] == [0, 0.4, 0.8]


def test_images_and_several_videos_go_together(tmp_path, clip):
    (tmp_path / "000017.jpg").write_bytes(jpeg(40, 30, seed=1))
    other = write_video(tmp_path / "other.mp4", frames=2, size=(32, 32))
    done, _ = _predict(tmp_path, tmp_path / "000017.jpg", clip, other)
    assert (done.num_images, done.num_frames) == (8, 7)
    images = _json(tmp_path / "out/images.json")["images"]
    # An id of its own for the photograph, 17, could be that of a frame.
    assert [row["id"] for row in images] == list(range(1, 9))
    assert len(read_video(tmp_path / "out/videos/other.mp4")[0]) == 2
    assert (tmp_path / "out/pictures/000017.jpg.jpg").exists()


def test_a_run_after_it_replaces_the_video(tmp_path, clip):
    _predict(tmp_path, clip)
    done, _ = _predict(tmp_path, clip, draw=False)
    assert done.num_frames == 5
    assert not (tmp_path / "out/videos/clip.mp4").exists()


def test_what_an_earlier_run_wrote_is_no_input(tmp_path, clip):
    _predict(tmp_path, clip)
    drawn = tmp_path / "out/videos/clip.mp4"
    with pytest.raises(DataError, match="was written by an earlier run"):
        _predict(tmp_path, drawn)
    assert len(read_video(drawn)[0]) == 5


def test_a_camera_runs_until_it_is_stopped_and_keeps_what_it_saw(tmp_path, monkeypatch):
    monkeypatch.setattr(video_frames, "open_camera", fake_camera)
    add, lines = predicting.OutputFolder.add, []

    def stops_at_the_sixth(folder, line):
        lines.append(line)
        if len(lines) == 6:
            raise KeyboardInterrupt
        add(folder, line)

    monkeypatch.setattr(predicting.OutputFolder, "add", stops_at_the_sixth)
    with pytest.raises(KeyboardInterrupt, match="what was found in 5 images is in"):
        _predict(tmp_path, "0")
    assert len(read_video(tmp_path / "out/videos/camera0.mp4")[0]) == 5
    assert len(_json(tmp_path / "out/images.json")["images"]) == 5
    assert _json(tmp_path / "out/predict.json")["complete"] is False


def test_few_frames_are_in_memory_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(video_frames, "open_camera", fake_camera)
    decoded, found = [], []

    class Counts(Boxed):
        def detect(self, images, *, alone=False):
            found.extend(images)
            if len(found) >= 20:
                raise KeyboardInterrupt
            return super().detect(images)

    pixels_of = video_frames.frame_pixels
    monkeypatch.setattr(
        video_frames, "frame_pixels", lambda frame: decoded.append(1) or pixels_of(frame)
    )
    _, videos = find_videos(["0"])
    with pytest.raises(KeyboardInterrupt):
        predicting.predict(
            Counts, [], videos=videos, output_dir=tmp_path / "out", stream=io.StringIO()
        )
    # The batch that is decoded and the one that is read meanwhile.
    assert len(decoded) <= len(found) + 2 * Boxed.batch_size


def test_a_broken_video_is_listed_and_the_rest_done(tmp_path, clip):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    unknown = of_unknown_codec(tmp_path / "unknown.mkv")
    done, _ = _predict(tmp_path, tmp_path / "broken.mp4", unknown, clip)
    assert done.num_frames == 5
    (location, reason), (_, unknown_reason) = done.unreadable
    assert unknown_reason.endswith("its codec is not known here")
    assert location == str(tmp_path / "broken.mp4")
    assert reason.startswith("not a video that can be read")
    with pytest.raises(DataError, match=r"none of 1 images can be read.*broken\.mp4"):
        _predict(tmp_path, tmp_path / "broken.mp4")


def test_nothing_to_look_at_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there was no image to look at"):
        predicting.predict(Boxed, [], output_dir=tmp_path / "out", stream=io.StringIO())


@pytest.mark.parametrize("method", ["encode", "close"])
def test_whatever_ffmpeg_raises_on_writing_loses_no_result(tmp_path, clip, monkeypatch, method):
    class Fails:
        def __init__(self, whole):
            self._whole = whole

        def __getattr__(self, name):
            return getattr(self._whole, name)

        def encode(self, *frame):
            if method == "encode" or not frame:
                raise av.error.ExternalError(1, "not this one")
            return self._whole.encode(*frame)

    begin = video_output.AnnotatedVideo.__init__

    def begins(video, *arguments, **options):
        begin(video, *arguments, **options)
        video._stream = Fails(video._stream)

    monkeypatch.setattr(video_output.AnnotatedVideo, "__init__", begins)
    done, _ = _predict(tmp_path, clip)
    assert done.num_detections == 5
    ((_, reason),) = done.unreadable
    assert reason.endswith(": not this one")
    assert list((tmp_path / "out/videos").iterdir()) == []


def test_a_video_that_cannot_be_written_is_said_once_and_loses_no_result(
    tmp_path, clip, monkeypatch
):
    def full(video, picture, *, seconds):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video_output.AnnotatedVideo, "add", full)
    done, _ = _predict(tmp_path, clip)
    assert done.num_detections == 5
    assert [reason for _, reason in done.unreadable] == [
        "videos/clip.mp4 cannot be written: No space left on device"
    ]
    assert list((tmp_path / "out/videos").iterdir()) == []
