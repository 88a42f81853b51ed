"""What Python may give as images: names, and buffers that are used again."""

import numpy as np
import pytest

from pix2seq_model.data.folder_walk import HIDDEN
from pix2seq_model.prediction.image_inputs import image_inputs
from pix2seq_model.prediction.image_sources import EndingFilter
from pix2seq_model.prediction.video_frames import find_videos
from tests.fixtures import photo_tree
from tests.fixtures.epath_bucket import epath_bucket
from tests.fixtures.videos import write_video


def test_files_of_one_name_in_two_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").write_bytes(folder.encode())
    sources = list(image_inputs([tmp_path / "a", tmp_path / "b"]))
    assert [source.name for source in sources] == ["1.jpg", "1_2.jpg"]
    assert [source.read() for source in sources] == [b"a", b"b"]


def test_a_buffer_may_be_used_for_the_next_image():
    def frames():
        frame, encoded = np.zeros((2, 2, 3), np.uint8), bytearray(1)
        for value in (1, 2):
            frame[:] = encoded[0] = value
            yield frame
            yield encoded

    read = [source.read() for source in list(image_inputs(frames()))]
    assert [np.frombuffer(content, np.uint8).max() for content in read] == [1, 1, 2, 2]


def test_a_pattern_may_have_images_and_videos(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"b")
    write_video(tmp_path / "a.mp4", frames=2)
    names = [source.name for source in image_inputs(f"{tmp_path}/*")]
    assert names == ["b.jpg", "a_000001", "a_000002"]
    assert [source.name for source in image_inputs(f"{tmp_path}/*.jpg")] == ["b.jpg"]
    assert len(list(image_inputs(f"{tmp_path}/*.mp4"))) == 2


def test_a_pattern_of_the_folders_below_and_of_a_bucket(tmp_path, monkeypatch):
    photo_tree.write_tree(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    with epath_bucket(monkeypatch, tmp_path):
        for place in ("photos", "gs://photos"):
            found = [source.location for source in image_inputs(f"{place}/**/*.jpg")]
            names = ["a.jpg", "deep/er/a.jpg", "found/pictures/g.jpg.jpg", "mine/pictures/f.jpg"]
            assert found == [f"{place}/{name}" for name in [*names, "old/e.jpg"]]
            assert len(list(image_inputs(place))) == 6
            (single,) = image_inputs(f"{place}/notes.md")
            assert single.read() == b"text"


def test_what_is_left_out_of_a_pattern_with_videos_is_counted(tmp_path):
    for name in ("a.mp4", ".b.mp4", "c.jpg", "notes.md"):
        (tmp_path / name).write_bytes(b"")
    endings = EndingFilter()
    others, videos = find_videos([f"{tmp_path}/*"], endings=endings)
    assert others == [f"{tmp_path}/c.jpg"]
    assert [video.location for video in videos] == [f"{tmp_path}/a.mp4"]
    assert endings.left_out == {HIDDEN: 1, ".md": 1}


def test_larger_videos_than_allowed_are_not_decoded(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    (source,) = image_inputs(path, max_pixels=3000)
    with pytest.raises(ValueError, match="more than 3,000 pixels"):
        source.read()
