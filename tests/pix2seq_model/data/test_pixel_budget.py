"""What images may take of memory at a time, and what the machine has."""

import concurrent.futures
import io
import threading
import time

import pytest
from PIL import Image

from pix2seq_model.data import image_check, pixel_budget
from pix2seq_model.data.image_check import ImageDefect, check_image, plain_image
from pix2seq_model.data.pixel_budget import PixelBudget, machine_memory
from pix2seq_model.errors import UnavailableError


class _Watched(PixelBudget):
    """Knows the most that was held at a time."""

    highest = 0

    def hold(self, size):
        held = super().hold(size)
        watched = self

        class _Held:
            def __enter__(self):
                held.__enter__()
                watched.highest = max(watched.highest, watched._held)

            def __exit__(self, *error):
                return held.__exit__(*error)

        return _Held()


def test_no_more_is_held_than_the_budget():
    budget = _Watched(total=100, most=1000)

    def use(size):
        with budget.hold(size):
            time.sleep(0.001)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [40, 30, 70, 10] * 10))
    assert 40 < budget.highest <= 100
    with budget.hold(500):
        assert budget.highest == 500
    with pytest.raises(UnavailableError, match="lower max_pixels"), budget.hold(1001):
        pass


def test_who_asks_for_much_is_not_overtaken():
    budget, done = PixelBudget(total=100, most=1000), []
    asked = [threading.Event(), threading.Event()]

    def use(size, event):
        event.set()
        with budget.hold(size):
            done.append(size)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        with budget.hold(60):
            threads.submit(use, 90, asked[0])
            assert asked[0].wait(20)
            while not budget._turn.locked():
                time.sleep(0.001)
            threads.submit(use, 10, asked[1])
            assert asked[1].wait(20)
        threads.shutdown()
    assert done == [90, 10]


def test_many_palette_images_are_decoded_one_after_the_other(monkeypatch):
    """Each is some bytes of a file and twenty times its pixels of memory."""
    file = io.BytesIO()
    Image.new("P", (200, 300)).save(file, "PNG", transparency=0)
    budget = _Watched(total=2_000_000, most=10_000_000)
    monkeypatch.setattr(image_check, "pixel_budget", lambda: budget)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(plain_image, [file.getvalue()] * 16))
    assert budget.highest == 200 * 300 * 20
    small = PixelBudget(total=1000, most=1000)
    monkeypatch.setattr(image_check, "pixel_budget", lambda: small)
    with pytest.raises(ImageDefect, match=r"image_too_large: it takes .* lower max_pixels"):
        plain_image(file.getvalue())
    with pytest.raises(UnavailableError):
        check_image(file.getvalue(), file_name="a.png", expected_size=None, max_pixels=10**6)


def test_the_limit_of_the_container_counts(tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/job/7\n")
    inner = tmp_path / "job/7"
    inner.mkdir(parents=True)
    whole = machine_memory(cgroups=tmp_path, own=tmp_path / "none")
    assert whole > 100_000_000
    (inner / "memory.max").write_text("max\n")
    assert machine_memory(cgroups=tmp_path, own=own) == whole
    (tmp_path / "job/memory.max").write_text("90000000\n")
    assert machine_memory(cgroups=tmp_path, own=own) == 90_000_000
    own.write_text("4:cpu,memory:/job\n1:name=systemd:/job\n")
    (tmp_path / "memory/job").mkdir(parents=True)
    (tmp_path / "memory/job/memory.limit_in_bytes").write_text("80000000\n")
    assert machine_memory(cgroups=tmp_path, own=own) == 80_000_000


def test_there_is_one_budget():
    assert pixel_budget.pixel_budget() is pixel_budget.pixel_budget()
    assert 0 < pixel_budget.pixel_budget().total < pixel_budget.pixel_budget().most


def test_what_needs_no_room_waits_for_nobody():
    budget = PixelBudget(total=10, most=100)
    with budget.hold(100), budget._turn, budget.hold(0):
        pass
