"""What is said while images are done."""

import io

from pix2seq_model.detection_progress import DetectionProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_file_gets_a_line_now_and_then_and_the_last():
    now = 0.0
    stream = io.StringIO()
    progress = DetectionProgress("detecting", total=100, done=10, stream=stream, clock=lambda: now)
    for done in range(20, 101, 10):
        now += 4.0
        progress.update(done)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "detecting: 100 images, going on after 10",
        "detecting: 20/100 (20%)",
        "detecting: 50/100 (50%)  2.5 images/s  0:20 left",
        "detecting: 80/100 (80%)  2.5 images/s  0:08 left",
        "detecting: 100/100 (100%)  2.5 images/s  0:00 left",
    ]


def test_a_terminal_has_one_line_rewritten():
    stream = Terminal()
    progress = DetectionProgress("detecting", total=2, stream=stream, clock=lambda: 0.0)
    progress.update(1)
    progress.update(2)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "detecting: 2 images"
    assert stream.getvalue().count("\r") == 2
    assert stream.getvalue().endswith("\n")
