"""The benchmark converts one data set by two checkouts, each to a place of its own."""

import json
from pathlib import Path

from benchmarks import annotations

# Stands in for the conversion: writes down where it was told to write, next to the checkout.
_CONVERTER = """
import json, pathlib, sys, time
given = dict(flag.removeprefix("--").split("=", 1) for flag in sys.argv[1:])
(data,) = pathlib.Path(given["annotations"]).glob("*.json")
root = pathlib.Path(__file__).parents[1]
place = {"output": given["output"], "annotations": str(data.resolve())}
(root / "given.json").write_text(json.dumps(place))
while time.process_time() < 0.1:  # Enough to be counted, and then there to be seen.
    pass
time.sleep(0.3)
"""


def _checkout(root: Path) -> Path:
    (root / "pipelines").mkdir(parents=True)
    (root / "pipelines/convert_dataset.py").write_text(_CONVERTER)
    return root


def test_two_checkouts_that_are_called_alike(tmp_path, monkeypatch, capsys):
    now, before = _checkout(tmp_path / "new/main"), _checkout(tmp_path / "old/main")
    monkeypatch.setattr(annotations, "_ROOT", now)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path)
    annotations.main(["--images=3", "--boxes_per_image=2", "--folder=work", f"--before={before}"])
    asked = [json.loads((root / "given.json").read_text()) for root in (now, before)]
    assert asked[0]["annotations"] == asked[1]["annotations"]
    outputs = {place["output"] for place in asked}
    assert len(outputs) == 2
    assert all(Path(place).is_relative_to(tmp_path / "work") for place in outputs)
    assert "6 boxes: " in capsys.readouterr().out
