"""What Python may give as images: names, and buffers that are used again."""

import numpy as np

from pix2seq_model.prediction.image_inputs import image_inputs


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
