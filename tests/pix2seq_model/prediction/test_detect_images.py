"""How many pixels are in memory while images are looked at, batch by batch."""

import contextlib
import dataclasses
import functools
import io
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.data import image_check
from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.data.pixel_budget import PixelBudget
from pix2seq_model.onnx_runner import preprocessing
from pix2seq_model.prediction import detect_images as detecting
from pix2seq_model.prediction import predict as predicting
from pix2seq_model.prediction.detect_images import detect_images, pixels_of
from pix2seq_model.prediction.image_inputs import image_inputs
from pix2seq_model.prediction.image_sources import ImageSource
from pix2seq_model.reports import drawing

_SIDE = 100
_PIXELS = 3 * _SIDE**2  # bytes of one image
_DECODING = 30 * _SIDE**2
_LIMIT_S = 60


class _Model:
    """Finds nothing; knows how many bytes of pixels there are whenever it is asked to."""

    category_names = {}  # noqa: RUF012

    def __init__(self, *, batch_size=4, needs_pixels=False):
        self.batch_size, self.needs_pixels = batch_size, needs_pixels
        self.alive, self.most, self.batches = weakref.WeakSet(), 0, []

    def prepare(self, encoded, *, keep_pixels=True, **limits):
        how = {"image_size": (16, 16), "resize": "plain"}
        return self._known(preprocessing.prepare_image(encoded, **how, **limits), keep_pixels)

    def prepare_pixels(self, pixels, *, keep_pixels=True):
        how = {"image_size": (16, 16), "resize": "plain"}
        return self._known(preprocessing.prepare_pixels(pixels, **how), keep_pixels)

    def _known(self, prepared, keep_pixels):
        if not keep_pixels:
            prepared = prepared.without_pixels(has_key=False)
        self.alive.add(prepared)
        return prepared

    def detect(self, images, *, alone=False):
        assert not self.needs_pixels or all(image.pixels.size for image in images)
        self.batches.append(len(images))
        self.most = max(self.most, sum(image.pixels.nbytes for image in list(self.alive)))
        return [[] for _ in images]


@pytest.fixture
def use_budget(monkeypatch):
    def use(total):
        budget = PixelBudget(total=total, most=10**9)
        for module in (detecting, image_check, drawing):
            monkeypatch.setattr(module, "pixel_budget", lambda: budget)
        return budget

    return use


def _files(number, *, side=_SIDE):
    file = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(file, "PNG")
    read = functools.partial(bytes, file.getvalue())
    return [ImageSource(f"{place}.png", f"{place}.png", read) for place in range(number)]


def _in_time(work):
    """What `work` returns; fails where it does not end."""
    done = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    thread.join(_LIMIT_S)
    assert not thread.is_alive(), "it waits for ever"
    return done[0]


def test_what_two_batches_keep_decoded_is_within_the_budget(use_budget):
    budget = use_budget(_DECODING + 4 * _PIXELS)
    model, kept = _Model(batch_size=16), []
    for source, prepared, _ in detect_images(model, _files(48), score=0.0):
        kept.append(prepared.pixels.size > 0)
        with pixels_of(source, prepared, model=model, max_pixels=10**6) as pixels:
            assert pixels.shape == (_SIDE, _SIDE, 3)
            assert (pixels == (255, 0, 0)).all()
    assert 0 < model.most <= budget.total
    assert len(kept) == 48
    assert 0 < sum(kept) < 48
    assert model.batches == [16, 16, 16]
    assert budget._held == budget._kept == 0


def test_pixels_that_nobody_looks_at_are_not_kept(use_budget):
    use_budget(10**9)
    model = _Model()
    assert len(list(detect_images(model, _files(8), score=0.0, keep_pixels=False))) == 8
    assert model.most == 0


def test_files_whose_pictures_are_drawn(use_budget, tmp_path):
    budget = use_budget(_DECODING + 4 * _PIXELS)
    model = _Model(batch_size=16)
    done = predicting.predict(
        lambda: model, _files(40), output_dir=tmp_path / "out", stream=io.StringIO()
    )
    assert (done.num_images, done.unreadable) == (40, ())
    assert model.most <= budget.total
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 40
    assert budget._held == budget._kept == 0


def test_what_was_drawn_is_gone_when_the_next_image_is_decoded(use_budget, tmp_path):
    use_budget(1)
    model = _Model(batch_size=1, needs_pixels=True)

    def read(content):
        # The thread that has prepared the image before may be about to let go of it.
        deadline = time.monotonic() + _LIMIT_S / 4
        while any(image.pixels.size for image in list(model.alive)):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return content

    sources = [
        dataclasses.replace(file, read=functools.partial(read, file.read())) for file in _files(3)
    ]
    predicting.predict(lambda: model, sources, output_dir=tmp_path / "out", stream=io.StringIO())


@pytest.mark.parametrize("total", [1, 2 * _PIXELS, 2 * _DECODING])
@pytest.mark.parametrize("needs_pixels", [False, True])
def test_a_batch_never_waits_for_itself(use_budget, total, needs_pixels, tmp_path):
    budget = use_budget(total)
    model = _Model(batch_size=1 if needs_pixels else 8, needs_pixels=needs_pixels)
    files = [*_files(9), *_files(1, side=3 * _SIDE)]
    files = [ImageSource(f"{k}.png", f"{k}.png", file.read) for k, file in enumerate(files)]
    done = _in_time(
        lambda: predicting.predict(
            lambda: model, files, output_dir=tmp_path / "out", stream=io.StringIO()
        )
    )
    assert (done.num_images, done.unreadable) == (10, ())
    assert budget._held == budget._kept == 0


def test_of_arrays_less_is_read_ahead(use_budget):
    """They are decoded already: a batch ends where no more may be kept."""
    budget = use_budget(12 * _PIXELS)
    model = _Model(batch_size=8)
    arrays = (np.full((_SIDE, _SIDE, 3), k, np.uint8) for k in range(10))
    found = _in_time(lambda: list(detect_images(model, image_inputs(arrays), score=0.0)))
    assert [source.name for source, _, _ in found] == [f"image {k}" for k in range(1, 11)]
    assert model.batches == [3, 3, 3, 1]
    assert budget._kept == 0


def test_nothing_is_kept_after_an_early_end(use_budget):
    budget = use_budget(10**9)
    results = detect_images(_Model(), _files(20), score=0.0)
    next(results)
    assert budget._kept > 0
    results.close()
    assert budget._kept == 0

    def broken():
        yield from _files(6)
        raise RuntimeError

    with contextlib.suppress(RuntimeError):
        list(detect_images(_Model(), broken(), score=0.0))
    assert budget._kept == 0


def test_an_image_that_is_gone_when_it_is_drawn(use_budget, tmp_path):
    use_budget(1)
    (file,) = _files(1)
    answers = iter([file.read()])

    def read():
        for answer in answers:
            return answer
        raise FileNotFoundError

    source = ImageSource("a.png", "a.png", read)
    done = predicting.predict(_Model, [source], output_dir=tmp_path / "out", stream=io.StringIO())
    assert done.num_images == 1
    ((_, reason),) = done.unreadable
    assert reason == "cannot be read again to be drawn: no such file"


def test_what_cannot_be_read_is_said_in_words(use_budget):
    use_budget(10**9)

    def fail(error):
        raise error

    errors = {
        "no such file": FileNotFoundError(),
        "a folder, no image": IsADirectoryError(),
        "two": ValueError("two\nlines"),
        "too wide": ImageDefect("image_too_large", "too wide"),
        "ValueError": ValueError(),
    }
    sources = [
        ImageSource(words, words, functools.partial(fail, error)) for words, error in errors.items()
    ]
    found = list(detect_images(_Model(batch_size=2), sources, score=0.0))
    assert [result.error for _, _, result in found] == list(errors)
    assert all(prepared is None for _, prepared, _ in found)
