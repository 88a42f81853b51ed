import json

import pytest

from benchmarks import input as benchmark
from tests.fixtures.shared_material import SHARED, needs_shared


@pytest.mark.large
@needs_shared
def test_all_ways_are_timed(capsys):
    arguments = ["--images=40", "--image_size=32", "--batch_size=4", "--batches=1"]
    assert benchmark.main([f"--coco={SHARED / 'coco_sample'}", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("40 images, ")
    report = json.loads(lines[-1])
    ways = {"uint8", "float32", "before", "plain", "resizing", "decoding"}
    assert set(report["images_per_s"]) == ways
    assert min(report["cpu_ms_per_image"].values()) > 0
    assert report["uint8_to"]["before"] > 0
