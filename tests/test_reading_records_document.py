"""The reader in docs/reading_records.md reads what this project writes."""

import re
from pathlib import Path

import numpy as np

from tests.fixtures.records import example, smooth_image, write_examples

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "reading_records.md"


def test_the_ten_lines_read_images_boxes_and_labels(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    _, body = code.split("\n\n")
    assert len(body.splitlines()) == 10
    write_examples(
        tmp_path / "examples",
        [
            example("1", [((0.25, 0.5, 0.75, 1.0), 3), ((0.0, 0.0, 0.5, 0.5), 1)]),
            example("2", [], pixels=smooth_image(20, 30), image_format="png"),
        ],
        num_shards=1,
    )
    # A stray shard, such as an interrupted job leaves, is not in the manifest.
    stray = tmp_path / "examples/Split-train/examples-00000-of-00007.tfrecord"
    stray.write_bytes(b"not a record")
    monkeypatch.chdir(tmp_path)
    read = []

    exec(code + "    read.append((image, boxes_yxyx, labels))", {"read": read})

    (image, boxes, labels), (empty_image, no_boxes, no_labels) = read
    assert image.shape == (48, 64, 3)
    assert boxes.numpy().tolist() == [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.5]]
    assert labels.numpy().tolist() == [3, 1]
    np.testing.assert_array_equal(empty_image, smooth_image(20, 30))
    assert no_boxes.shape == (0, 4)
    assert no_labels.shape == (0,)
