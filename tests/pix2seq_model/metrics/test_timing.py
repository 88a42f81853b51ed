"""How long a model took for an image."""

import json

import pytest

from pix2seq_model.metrics.timing import TIMING_FILE, BatchTimes, read_timing, write_timing

HERE = {"batch_size": 4, "backend": "jax", "device": "2 processor cores"}


def timed(*batches):
    times = BatchTimes()
    for images, seconds in batches:
        times.add(images, seconds)
    return times.timing(**HERE)


def test_the_batch_that_compiles_and_the_one_that_is_not_whole_do_not_count():
    timing = timed((4, 60.0), (4, 0.4), (4, 0.8), (4, 1.2), (1, 0.4))
    assert (timing.milliseconds, timing.images) == (200.0, 12)
    assert timing.text() == (
        "200 ms an image: median over the batches of 4, 12 images in all, jax on 2 processor cores"
    )


def test_without_a_batch_that_counts_nothing_is_said():
    assert timed() is None
    assert timed((4, 60.0), (1, 0.4)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        *({"milliseconds": value} for value in ("x", None, 0, -1.0, float("inf"), True, 10**400)),
        *({"images": value} for value in (0, 2.5, None)),
        *({"batch_size": 0}, {"backend": None}, {"device": 5}, {"unknown": 1}),
    ],
)
def test_a_file_with_wrong_values_is_none(tmp_path, wrong):
    right = {"milliseconds": 8, "images": 12, **HERE}
    (tmp_path / TIMING_FILE).write_text(json.dumps(right))
    assert read_timing(tmp_path).milliseconds == 8
    (tmp_path / TIMING_FILE).write_text(json.dumps(right | wrong))
    assert read_timing(tmp_path) is None


def test_it_is_kept_in_a_file_of_its_own(tmp_path):
    timing = timed((4, 60.0), (4, 0.4))
    write_timing(tmp_path, timing)
    assert read_timing(tmp_path) == timing
    (tmp_path / TIMING_FILE).write_text('{"milliseconds": ')
    assert read_timing(tmp_path) is None
    write_timing(tmp_path, None)
    assert not list(tmp_path.iterdir())
    assert read_timing(tmp_path) is None
    write_timing(tmp_path, None)
