"""What Python may give as images: names, and buffers that are used again."""

import numpy as np
import pytest

from pix2seq_model.prediction.image_inputs import image_inputs
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


def test_larger_videos_than_allowed_are_not_decoded(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    (source,) = image_inputs(path, max_pixels=3000)
    with pytest.raises(ValueError, match="more than 3,000 pixels"):
        source.read()
