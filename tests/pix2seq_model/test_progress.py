"""The line a person watches."""

import io

import pytest

from pix2seq_model.progress import DetectionProgress, ProgressLine, duration_text

CLEAR_LINE = "\r\x1b[2K"


@pytest.fixture(autouse=True)
def _terminal_kind(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


class _Terminal(io.StringIO):
    def isatty(self):
        return True


class _Clock:
    now = 100.0

    def __call__(self):
        return self.now


def _line(stream, clock, total_steps=1000):
    return ProgressLine(
        "finetune", total_steps=total_steps, batch_size=8, stream=stream, clock=clock
    )


def test_a_plain_line_says_all():
    stream, clock = io.StringIO(), _Clock()
    line = _line(stream, clock)
    line.start(1)
    clock.now += 10
    line.values(201, {"loss": 2.5, "learning_rate": 3e-4})
    assert stream.getvalue() == (
        "finetune  step 201/1,000 (20%)  loss 2.5000  lr 3.00e-04  160 images/s  20.0 steps/s  "
        "0:40 left\n"
    )


def test_slow_steps_are_told_in_seconds():
    stream, clock = io.StringIO(), _Clock()
    line = _line(stream, clock)
    line.start(1)
    clock.now += 20
    line.values(11, {"loss": 2.5})
    assert "4 images/s  2.0 s/step" in stream.getvalue()


def test_plain_lines_come_at_most_every_five_seconds_but_for_the_last():
    stream, clock = io.StringIO(), _Clock()
    line = _line(stream, clock, total_steps=40)
    line.start(0)
    for step in (10, 20, 30, 40):
        clock.now += 2
        line.values(step, {"loss": 1.0})
    assert [text.split()[2] for text in stream.getvalue().splitlines()] == ["10/40", "40/40"]


def test_a_terminal_has_one_line_that_is_rewritten():
    stream, clock = _Terminal(), _Clock()
    line = _line(stream, clock)
    line.start(1)
    for step in range(2, 50):
        clock.now += 0.1
        line.step(step)
    assert "\n" not in stream.getvalue()
    assert 10 < stream.getvalue().count(CLEAR_LINE) < 30
    line.message("saved")
    assert stream.getvalue().count("saved\n") == 1


def test_a_message_stands_above_the_live_line():
    stream, clock = _Terminal(), _Clock()
    with _line(stream, clock) as line:
        line.step(3)
        before = len(stream.getvalue())
        line.message("[hello] " * 20)
        added = stream.getvalue()[before:]
    live = "finetune  step 3/1,000 (0%)"
    assert added == CLEAR_LINE + "[hello] " * 20 + "\n" + live
    assert stream.getvalue().startswith("\x1b[?25l")  # no cursor next to the line
    assert stream.getvalue().endswith("\n\x1b[?25h")


def test_a_terminal_without_control_codes_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream, clock = _Terminal(), _Clock()
    with _line(stream, clock) as line:
        line.step(3)
        line.values(4, {"loss": 1.0})
    assert stream.getvalue() == "finetune  step 4/1,000 (0%)  loss 1.0000\n"


def test_durations():
    seconds = (0.4, 59.6, 61, 3599, 4000, 90000)
    assert [duration_text(s) for s in seconds] == [
        "0:00",
        "1:00",
        "1:01",
        "59:59",
        "1:06:40",
        "1d 1h",
    ]


def test_images_in_a_log_file_get_a_line_now_and_then_and_the_last():
    now = 0.0
    stream = io.StringIO()
    progress = DetectionProgress("detecting", total=100, done=10, stream=stream, clock=lambda: now)
    for done in range(20, 101, 10):
        now += 4.0
        progress.update(done)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "detecting: 100 images, continuing after 10",
        "detecting: 20/100 (20%)",
        "detecting: 50/100 (50%)  2.5 images/s  0:20 left",
        "detecting: 80/100 (80%)  2.5 images/s  0:08 left",
        "detecting: 100/100 (100%)  2.5 images/s  0:00 left",
    ]


@pytest.mark.parametrize(("total", "last"), [(100, "27/100 (27%)"), (None, "27"), (20, "27")])
def test_the_last_number_is_shown_if_it_is_not_the_total(total, last):
    now = 0.0
    stream = io.StringIO()
    progress = DetectionProgress("detecting", total=total, stream=stream, clock=lambda: now)
    for done in range(1, 28):
        progress.update(done)
        now += 0.25
    progress.close()
    assert stream.getvalue().splitlines()[-1] == f"detecting: {last}  3.85 images/s"
    assert stream.getvalue().count(": 27") == 1


def test_images_have_one_live_line():
    stream = _Terminal()
    progress = DetectionProgress("detecting", total=2, stream=stream, clock=lambda: 0.0)
    progress.update(1)
    progress.update(2)
    progress.close()
    assert stream.getvalue().splitlines()[0] == "detecting: 2 images"
    assert stream.getvalue().count("detecting: 2/2 (100%)") == 2  # the last one, drawn again
    assert stream.getvalue().count("\n") == 2
