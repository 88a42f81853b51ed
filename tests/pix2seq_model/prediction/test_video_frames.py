"""Frames of videos and cameras as images."""

import dataclasses
import importlib
from fractions import Fraction

import av
import numpy as np
import pytest

from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.prediction import video_frames
from pix2seq_model.prediction.video_frames import all_frames, find_videos
from tests.fixtures.pipes import named_pipe
from tests.fixtures.records import jpeg
from tests.fixtures.videos import cut_video, fake_camera, of_unknown_codec, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


def _grey(source):
    pixels = source.read()
    assert pixels.dtype == np.uint8
    return round(float(pixels[:, -20:].mean()), -1)


def test_each_frame_is_an_image_with_its_number_and_time(clip):
    others, (video,) = find_videos([str(clip)])
    assert (others, video.expected, video.rate) == ([], 5, 5)
    frames = list(video.frames())
    assert [frame.name for frame in frames] == [f"clip_{number:06d}" for number in range(1, 6)]
    assert [_grey(frame) for frame in frames] == [20, 40, 60, 80, 100]
    assert [round(frame.seconds, 3) for frame in frames] == [0, 0.2, 0.4, 0.6, 0.8]
    assert frames[1].read().shape == (48, 64, 3)
    assert frames[1].location == f"{clip}, frame 2"


def test_of_so_many_frames_one_is_taken(clip):
    _, (video,) = find_videos([str(clip)], every=2)
    assert (video.expected, video.rate) == (3, 2.5)
    assert [frame.number for frame in video.frames()] == [1, 3, 5]


def test_a_frame_is_read_again_from_the_file(clip):
    _, (video,) = find_videos([str(clip)])
    assert [frame.read_again().mean() for frame in video.frames()] == [
        frame.read().mean() for frame in video.frames()
    ]


def test_a_film_of_a_phone_held_upright_is_turned(tmp_path):
    _, (video,) = find_videos([str(write_video(tmp_path / "phone.mp4", turned=True))])
    pixels = list(video.frames())[4].read()
    assert pixels.shape == (64, 48, 3)
    # The film's left half is black; turned with the clock it is on top.
    assert pixels[:28].mean() < 10
    assert round(float(pixels[36:].mean()), -1) == 100


def test_frames_are_decoded_as_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(video_frames, "open_camera", fake_camera)
    _, (camera,) = find_videos(["0"], every=3)
    assert (camera.name, camera.expected, camera.rate) == ("camera0", None, Fraction(10, 3))
    frames = camera.frames()  # of a camera that never ends
    first, second = next(frames), next(frames)
    assert (first.name, second.name) == ("camera0_000001", "camera0_000004")
    assert second.seconds == pytest.approx(0.3)
    with pytest.raises(OSError, match="is not kept"):
        second.read_again()


def test_a_camera_that_is_not_there_is_said_at_once():
    with pytest.raises(DataError, match=r"camera 99 cannot be opened .* give another number"):
        find_videos(["99"])


def test_a_file_that_is_called_like_a_camera_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(jpeg(20, 20, seed=1))
    assert find_videos(["0"]) == (["0"], [])


def test_videos_are_told_from_other_places(clip, tmp_path):
    (tmp_path / "b").mkdir()
    for place in ("clip.mp4", "b/clip.MOV"):
        (tmp_path / place).write_bytes(clip.read_bytes())
    (tmp_path / "x.jpg").write_bytes(jpeg(20, 20, seed=1))
    (tmp_path / "folder.mp4").mkdir()
    places = [
        f"{tmp_path}/*",
        f"{tmp_path}/b/clip.MOV",
        f"{tmp_path}/folder.mp4",
        f"{tmp_path}/*.jpg",
    ]
    others, videos = find_videos(places)
    assert others == [f"{tmp_path}/x.jpg", f"{tmp_path}/folder.mp4", f"{tmp_path}/x.jpg"]
    assert [video.name for video in videos] == ["clip", "clip_2"]
    for place, message in ((f"{tmp_path}/none.mp4", "no such"), ("gs://b/x.mp4", "copy it here")):
        with pytest.raises(DataError, match=message):
            find_videos([place])


def test_a_pattern_of_videos_in_a_bucket_is_refused():
    with pytest.raises(DataError, match=r"gs://b/\*\.mp4: .* copy it here"):
        find_videos(["gs://b/*.mp4"])


def test_ids_count_on_through_all_videos(clip):
    _, videos = find_videos([str(clip), str(clip)])
    frames = list(all_frames(videos, first_id=4))
    assert [frame.image_id for frame in frames] == list(range(4, 14))
    assert len({frame.name for frame in frames}) == 10


@pytest.mark.parametrize("content", [b"", b"no video", b"\0\0\0\x18ftypmp42"])
def test_what_is_no_video_is_one_source_that_says_so(tmp_path, content):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    _, (video,) = find_videos([str(path)])
    (source,) = video.frames()
    assert source.location == str(path)
    with pytest.raises(ValueError, match=r"not a video that can be read: \w+"):
        source.read()


def test_a_pipe_that_is_called_like_a_video_is_not_waited_for(tmp_path):
    with named_pipe(tmp_path / "x.mp4"):
        _, (video,) = find_videos([f"{tmp_path}/*.mp4"])
        (source,) = video.frames()
        with pytest.raises(ValueError, match="is a named pipe, not a file"):
            source.read()


def test_a_video_that_breaks_off_keeps_its_frames(clip):
    _, (video,) = find_videos([str(clip)])

    class Breaks:
        def __init__(self, container):
            self._container = container
            self.streams = container.streams

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._container.close()

        def decode(self, stream):
            frames = self._container.decode(stream)
            yield next(frames)
            yield next(frames)
            raise OSError(5, "Input/output error")

    class Broken(video_frames.Video):
        def _open(self):
            return Breaks(video_frames.open_file(self.location))

    fields = {field.name: getattr(video, field.name) for field in dataclasses.fields(video)}
    *frames, failed = Broken(**fields).frames()
    assert [frame.number for frame in frames] == [1, 2]
    assert (failed.name, failed.location) == ("clip_000003", f"{clip}, after frame 2")
    with pytest.raises(ValueError, match="Input/output error"):
        failed.read()


def test_an_unknown_codec_is_one_source_that_says_so(tmp_path):
    _, (video,) = find_videos([str(of_unknown_codec(tmp_path / "x.mkv"))])
    (source,) = video.frames()
    with pytest.raises(ValueError, match="its codec is not known here"):
        source.read()


@pytest.mark.parametrize(
    "kind", [av.error.EOFError, av.error.DecoderNotFoundError, av.error.PatchWelcomeError]
)
def test_whatever_ffmpeg_raises_is_said_of_the_video(clip, monkeypatch, kind):
    _, (video,) = find_videos([str(clip)])
    frame = next(video.frames())

    def fails(location):
        raise kind(1, "not this one")

    monkeypatch.setattr(video_frames, "open_file", fails)
    assert find_videos([str(clip)])[1][0].expected == 0
    (source,) = video.frames()
    for read in (source.read, frame.read_again):
        with pytest.raises(ValueError, match="not this one"):
            read()


_KINDS = [("x.mp4", "mpeg4"), ("x.mkv", "libx264"), ("x.avi", "mpeg4"), ("x.flv", "flv1")]


@pytest.mark.parametrize(("name", "codec"), _KINDS)
def test_a_file_that_was_cut_off_says_so_after_its_frames(tmp_path, name, codec):
    _, (video,) = find_videos([str(cut_video(tmp_path / name, keep=0.5, codec=codec))])
    *frames, failed = video.frames()
    assert 10 < len(frames) < 40
    assert failed.location.endswith(f"{name}, after frame {len(frames)}")
    with pytest.raises(
        ValueError, match=rf"after frame {len(frames)} at [\d.]+ s, .* says \d\.0 s"
    ):
        failed.read()


@pytest.mark.parametrize(("name", "codec"), _KINDS)
def test_a_whole_file_ends_as_its_header_says(tmp_path, name, codec):
    _, (video,) = find_videos([str(cut_video(tmp_path / name, keep=1, codec=codec))], every=7)
    assert [frame.number for frame in video.frames()] == list(range(1, 61, 7))


def test_a_file_without_a_frame_says_so(tmp_path):
    path = write_video(tmp_path / "x.mkv")
    content = path.read_bytes()
    # Up to the first cluster, in which the pictures are, and a little of it.
    path.write_bytes(content[: content.index(b"\x1f\x43\xb6\x75") + 60])
    _, (video,) = find_videos([str(path)])
    (source,) = video.frames()
    with pytest.raises(ValueError, match="not a video that can be read: holds no frame"):
        source.read()


def test_larger_frames_than_allowed_are_not_decoded(clip):
    _, (video,) = find_videos([str(clip)])
    (source,) = video.frames(max_pixels=3000)
    with pytest.raises(ValueError, match=r"64x48 has more than 3,000 pixels"):
        source.read()


def test_without_the_package_one_message_says_how_to_get_it(clip, monkeypatch):
    found = importlib.import_module

    def missing(name):
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return found(name)

    monkeypatch.setattr(video_frames.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"the package av is not installed.*'\.\[video\]'"):
        find_videos([str(clip)])
    assert find_videos(["photos"]) == (["photos"], [])
