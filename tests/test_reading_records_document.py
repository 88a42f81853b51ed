"""The reader in docs/reading_records.md reads what this project writes."""

import re
from pathlib import Path

from tests.examples_folder import example, smooth_image, write_examples

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "reading_records.md"


def test_the_ten_lines_print_images_boxes_and_labels(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(code.splitlines()) == 10
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

    exec(code, {})

    assert capsys.readouterr().out.splitlines() == [
        "(48, 64, 3) [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.5]] [3, 1]",
        "(20, 30, 3) [] []",
    ]
