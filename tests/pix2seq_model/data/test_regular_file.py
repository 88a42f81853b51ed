"""What is no file that can be read to its end."""

import os

from pix2seq_model.data.regular_file import regular_status


def test_only_regular_files_are_any(tmp_path):
    (tmp_path / "whole").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("whole")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("whole", "link"):
        assert regular_status(tmp_path / name).st_size == 3
    names = ["pipe", "self", "broken", "none", ".", "whole/below", "a" * 256, "a\0b"]
    for path in (*(f"{tmp_path}/{name}" for name in names), "/dev/zero"):
        assert regular_status(path) is None
