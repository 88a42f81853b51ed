"""The line a person watches."""

import io

from pix2seq_model.progress import ProgressLine, duration_text


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
    assert 10 < stream.getvalue().count("\r") < 30
    line.message("saved")
    assert stream.getvalue().endswith("saved\n")


def test_a_message_does_not_mix_with_the_live_line():
    stream, clock = _Terminal(), _Clock()
    line = _line(stream, clock)
    line.step(3)
    live = stream.getvalue()
    line.message("hello")
    assert stream.getvalue() == live + "\r" + " " * (len(live) - 1) + "\rhello\n"


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
