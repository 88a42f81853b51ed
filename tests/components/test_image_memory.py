"""Attacks by images that are small as files and large in memory: what a process takes at most.

Each attack is a process of its own, with a budget as of a small machine, and its peak is compared
with that budget. `make test-large`.
"""

import asyncio
import contextlib
import io
import json
import os
from pathlib import Path
from unittest import mock

import httpx
import pytest
from PIL import Image

from pix2seq_model.data import pixel_budget
from tests.fixtures.commands import PROCESSES
from tests.fixtures.evaluated_model import write_model
from tests.fuzz.run import forget_peak, memory

pytestmark = pytest.mark.large

# A palette image of this side is a file of 7 kB, and takes 125 MB while it is decoded.
_SIDE = 2500
_TOTAL = 130_000_000
# To be resized it needs more than the budget, and so is alone. TensorFlow keeps what it freed for
# the next image of this size, while Pillow decodes that.
_RESIZED = (30 + 20) * _SIDE**2
_SPARE = 150_000_000
_SMALL_SIDE, _ATTACK_SIDE = 100, 13_000
_SETTINGS = {"top_p": 1.0, "end_token_offset": -100.0}


def _palette_png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("P", (side, side)).save(file, "PNG", transparency=0)
    return file.getvalue()


def _one_bit_png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


def _write_images(folder: Path, number: int, side: int) -> Path:
    folder.mkdir()
    encoded = _palette_png(side)
    for index in range(number):
        (folder / f"{index}.png").write_bytes(encoded)
    return folder


def _convert(folder: Path, side: int) -> dict:
    from tests.fixtures.small_conversion import convert
    from tests.fixtures.small_dataset import SmallDataset

    data = SmallDataset(16)
    attack = _palette_png(side)
    data.files = dict.fromkeys(data.files, attack)
    for row in data.content["images"]:
        row["height"] = row["width"] = side
    info = convert(folder, {"train": data.write(folder)})
    return info.splits["train"].counts["images"]


def _predict(folder: Path, side: int) -> dict:
    from pix2seq_model.prediction.image_detector import ImageDetector
    from pix2seq_model.prediction.image_sources import find_images
    from pix2seq_model.prediction.predict import predict

    images = _write_images(folder / "images", 8, side)
    (images / "attack.png").write_bytes(_one_bit_png(_ATTACK_SIDE))
    done = predict(
        lambda: ImageDetector(folder.parent / "model", batch_size=8, **_SETTINGS),
        find_images([images]),
        output_dir=folder / "found",
        max_pixels=2 * _ATTACK_SIDE**2,
        stream=io.StringIO(),
    )
    return {"num_images": done.num_images, "unreadable": done.unreadable}


def _predict_batches(folder: Path, side: int) -> dict:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from components.prediction.options import PredictionOptions
    from components.prediction.predict import predict_images

    images = _write_images(folder / "images", 16, side)
    (images / "attack.png").write_bytes(_one_bit_png(_ATTACK_SIDE))
    options = PredictionOptions(
        model_dir=str(folder.parent / "model"),
        images=(str(images),),
        max_pixels=2 * _ATTACK_SIDE**2,
        decoding=_SETTINGS,
    )
    return predict_images(
        options,
        str(folder / "found"),
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )


def _upload(folder: Path, side: int) -> list[int]:
    from pix2seq_model.web_demo.app import make_app
    from pix2seq_model.web_demo.limits import Limits
    from pix2seq_model.web_demo.model import AttentiveModel

    app = make_app(AttentiveModel(folder.parent / "model", **_SETTINGS), Limits(), is_local=True)
    encoded = _palette_png(side)

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000", timeout=240
        ) as to:
            asked = [to.post("/detect", content=encoded) for _ in range(12)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    return asyncio.run(ask())


def _attack(attack, folder: Path, with_budget: bool) -> None:
    """In a process of its own: writes what came of it and the bytes it took."""
    memory_of_machine = 2 * _TOTAL * len(os.sched_getaffinity(0))
    no_budget = mock.patch.object(
        pixel_budget.PixelBudget, "hold", return_value=contextlib.nullcontext()
    )
    with mock.patch.object(pixel_budget, "machine_memory", return_value=memory_of_machine):
        assert pixel_budget.pixel_budget().total == _TOTAL
    write_model(folder / "model")
    (folder / "small").mkdir()
    (folder / "large").mkdir()
    attack(folder / "small", _SMALL_SIDE)  # What it imports and compiles is no image's.
    forget_peak()
    before = memory("VmRSS")
    with contextlib.nullcontext() if with_budget else no_budget:
        came = attack(folder / "large", _SIDE)
    took = memory("VmHWM") - before
    (folder / "result.json").write_text(json.dumps({"took": took, "came": came}))


def _result_of(attack, folder: Path, *, with_budget: bool = True) -> dict:
    child = PROCESSES.Process(target=_attack, args=(attack, folder, with_budget))
    child.start()
    child.join()
    assert child.exitcode == 0
    result = json.loads((folder / "result.json").read_text())
    print(f"{attack.__name__}: {result['took'] / 1e6:.0f} MB")
    return result


def test_sixteen_palette_images_in_a_conversion(tmp_path):
    result = _result_of(_convert, tmp_path)
    assert result["came"]["written"] == 16
    assert result["took"] < _TOTAL + _SPARE


def test_a_file_of_some_kilobytes_in_predict(tmp_path):
    result = _result_of(_predict, tmp_path)
    assert result["came"]["num_images"] == 8
    ((name, reason),) = result["came"]["unreadable"]
    assert name.endswith("attack.png")
    assert "lower max_pixels" in reason
    # Pixels are kept until they are drawn in a quarter of the budget; one image is drawn.
    assert result["took"] < _RESIZED + _TOTAL // 4 + 3 * _SIDE**2 + _SPARE


def test_a_file_of_some_kilobytes_in_batch_prediction(tmp_path):
    result = _result_of(_predict_batches, tmp_path)
    assert result["came"]["written"] == 16
    assert result["came"]["unreadable"] == {"image_too_large": 1}
    assert result["took"] < _RESIZED + _SPARE


def test_twelve_uploads_at_once(tmp_path):
    result = _result_of(_upload, tmp_path)
    assert sorted(result["came"]) == 8 * [200] + 4 * [503]
    assert result["took"] < _RESIZED + _SPARE
