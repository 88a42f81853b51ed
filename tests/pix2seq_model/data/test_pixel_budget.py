"""What images may take of memory at a time, and what the machine has."""

import concurrent.futures
import fcntl
import io
import os
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.data import damage, image_check, pixel_budget
from pix2seq_model.data.image_check import ImageDefect, check_image, plain_image
from pix2seq_model.data.pixel_budget import PixelBudget, machine_memory
from pix2seq_model.errors import DataError, UnavailableError
from pix2seq_model.input_pipeline import image_file
from pix2seq_model.onnx_runner import preprocessing
from pix2seq_model.prediction import video_frames
from pix2seq_model.reports import drawing
from tests.fixtures import records


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
            assert asked[0].wait(60)
            while not budget._turn.locked():
                time.sleep(0.001)
            threads.submit(use, 10, asked[1])
            assert asked[1].wait(60)
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


def test_a_thread_that_has_some_gets_more_at_once():
    """Somebody waits for much meanwhile, and would be waited for."""
    budget, done = PixelBudget(total=100, most=200), []

    def wait_for_much():
        with budget.hold(90):
            done.append("other")

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        with budget.hold(60):
            threads.submit(wait_for_much)
            while not budget._turn.locked():
                time.sleep(0.001)
            with budget.hold(70):
                assert budget._held == 130
                done.append("own")
            with pytest.raises(UnavailableError), budget.hold(141):
                pass
            assert budget._held == 60
        threads.shutdown()
    assert done == ["own", "other"]
    assert budget._held == 0


def test_what_was_held_goes_back_to_the_system_before_another_has_it(monkeypatch):
    budget, returned = PixelBudget(total=10**8, most=10**9), []
    monkeypatch.setattr(pixel_budget, "_return_memory", lambda: returned.append(budget._held))
    with budget.hold(10**6):
        pass
    with budget.hold(10**8):
        pass
    assert returned == [10**8]
    for _ in range(30):  # Of small ones after some, not after each.
        with budget.hold(10**6):
            pass
    assert returned == [10**8, 10**6]


def _held_while(monkeypatch, work):
    budget = _Watched(total=10**6, most=10**9)
    for module in (image_check, drawing, damage):
        monkeypatch.setattr(module, "pixel_budget", lambda: budget)
    work()
    assert budget._held == 0
    return budget.highest


def test_every_way_to_decode_an_image_holds_its_pixels(monkeypatch):
    """Else what one of them decodes is not known to the others."""
    file = io.BytesIO()
    image = Image.new("RGB", (40, 30), "red")
    image.save(file, "PNG")
    encoded, pixels = file.getvalue(), np.asarray(image)
    record = records.example("7", encoded=encoded, image_format="png")
    frame = types.SimpleNamespace(width=40, height=30, to_ndarray=lambda format: pixels)
    at_least = {
        "file": (lambda: image_file.prepare_image(encoded, image_size=(64, 64)), 27),
        "array": (lambda: image_file.prepare_pixels(pixels, image_size=(64, 64)), 27),
        "file for ONNX": (
            lambda: preprocessing.prepare_image(encoded, image_size=(64, 64), resize="plain"),
            27,
        ),
        "array for ONNX": (
            lambda: preprocessing.prepare_pixels(pixels, image_size=(64, 64), resize="plain"),
            27,
        ),
        "Pillow's": (lambda: image_check.upright_pixels(image), 20),
        "Pillow's of integers": (lambda: image_check.upright_pixels(image.convert("I")), 36),
        "report's": (lambda: drawing.read_rgb(encoded), 20),
        "report's boxes": (lambda: drawing.draw_boxes(image, []), 12),
        "report's file": (lambda: drawing.jpeg_bytes(image), 16),
        "damage": (lambda: damage.damage_of_record(record), 20),
        "video": (lambda: video_frames.frame_pixels(frame), 12),
    }
    for name, (work, per_pixel) in at_least.items():
        assert _held_while(monkeypatch, work) >= 40 * 30 * per_pixel, name


def test_what_this_machine_cannot_hold_is_named_by_every_way(monkeypatch):
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    monkeypatch.setattr(image_check, "pixel_budget", lambda: PixelBudget(total=9, most=9))
    with pytest.raises(ImageDefect, match="lower max_pixels"):
        image_check.upright_pixels(Image.new("RGB", (40, 30)))
    with pytest.raises(DataError, match=r"^photo\.png: .*lower max_pixels"):
        drawing.read_rgb(file.getvalue(), source="photo.png")
    frame = types.SimpleNamespace(width=40, height=30)
    with pytest.raises(ValueError, match="lower max_pixels"):
        video_frames.frame_pixels(frame)


def test_one_process_at_a_time_decodes_a_large_image(tmp_path, monkeypatch):
    path, naps = tmp_path / "large.lock", []
    budget = PixelBudget(total=100, most=1000, alone_file=path)
    hold = f"import fcntl; file = open({str(path)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{hold}; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"\n"

        def nap(seconds):
            naps.append(other.poll())
            if len(naps) == 3:
                other.kill()  # The kernel lets go of the file.
                other.wait()

        monkeypatch.setattr(pixel_budget.time, "sleep", nap)
        with budget.hold(100):
            assert not naps
        with budget.hold(101):
            assert len(naps) >= 3
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Nobody has it any more.
        # A holder that was stopped holds up nobody for ever.
        with pixel_budget.alone_on_machine(path, most_wait=-1.0):
            pass


def test_without_a_file_to_share_nobody_waits(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("none/file", "link", "folder", "pipe"):
        with pixel_budget.alone_on_machine(tmp_path / name):
            pass
    assert not (tmp_path / "other").exists()

    def no_folder():
        raise FileNotFoundError

    monkeypatch.setattr(pixel_budget.tempfile, "gettempdir", no_folder)
    budget = pixel_budget.pixel_budget.__wrapped__()
    with budget.hold(budget.total + 1):
        pass


def test_what_is_kept_counts_and_is_waited_for_by_nobody():
    budget = _Watched(total=100, most=1000)
    assert budget.keep(20)
    assert budget.keeps_more
    assert not budget.keep(6)  # More than its share.
    assert budget.keep(5)
    assert not budget.keeps_more
    budget.let_go(5)
    with budget.hold(78):
        assert not budget.keep(5)  # There would be more than the budget in use.
        assert budget.keep(200, must=True)
    with budget.hold(90):
        pass
    order = []

    def use(size):
        with budget.hold(size):
            order.append(size)

    budget.let_go(200)
    with concurrent.futures.ThreadPoolExecutor(1) as threads, budget.hold(50):
        threads.submit(use, 40)
        while not budget._turn.locked():
            time.sleep(0.001)
        assert not order  # 20 are kept.
        budget.let_go(20)
        while not order:
            time.sleep(0.001)
    assert budget._kept == budget._held == 0


def test_what_needs_no_room_waits_for_nobody():
    budget, done = PixelBudget(total=10, most=100), threading.Event()

    def hold_nothing():
        with budget.hold(0):
            done.set()

    with budget.hold(100):
        threading.Thread(target=hold_nothing, daemon=True).start()
        assert done.wait(30)
