"""The benchmark on real photographs: its config loads, and what it shows of finished runs."""

import io
import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import own_photographs
from pix2seq_model.data.ground_truth import read_split_truth
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from tests.fixtures import tiny_run

SCRIPT = own_photographs.__file__


@pytest.mark.parametrize(
    ("name", "val"),
    [("bccd", "/data/bccd/val.json"), ("rbc", "/data/rbc/valid/_annotations.coco.json")],
)
def test_the_script_is_the_config_of_its_runs(name, val):
    config = load_config(f"{SCRIPT}:{name},/data", ["seed=2"])
    assert config.data.finetune.annotations.val == val
    assert (config.finetune.split, config.evaluation.split) == ("train", "test")
    assert {split for split, place in config.data.pretrain.images.items() if place} == {"train"}
    photographs = own_photographs.SETS[name]
    assert (config.pretrain.steps, config.finetune.steps) == (
        photographs.crop_steps,
        photographs.whole_steps,
    )


def test_an_unknown_set_is_named():
    with pytest.raises(ConfigError, match="'cats' is none of bccd, rbc"):
        load_config(f"{SCRIPT}:cats,/data")


class Pipelines:
    """In place of the pipeline's processes: leaves what they leave, the second time cached."""

    def __init__(self, examples: Path) -> None:
        self.examples, self.commands = examples, []

    def run(self, command: list[str], *, check: bool) -> None:
        self.commands.append(command)
        given = dict(part.removeprefix("--").split("=", 1) for part in command[2:])
        root, seed = Path(given["pipeline_root"]), int(given["config.seed"])
        if seed == 9:
            raise subprocess.CalledProcessError(7, command)
        (root / "model").mkdir(parents=True, exist_ok=True)
        crops = {"steps": 2, "wall_time_s": 15.0}
        whole = {"steps": 3, "wall_time_s": 60.0 * seed - 15.0, "base_model": {"run": crops}}
        (root / "model/run.json").write_text(json.dumps(whole))
        truth = read_split_truth(self.examples, "test").coco
        (root / "ground_truth.json").write_text(json.dumps(truth))
        found = [{**row, "score": 0.9} for row in truth["annotations"]]
        (root / "detections.json").write_text(json.dumps(found))
        metrics = {"AP": 0.1 * seed, "AP50": 0.2 * seed, "AP75": 0.0}
        summary = {
            "model": str(root / "model"),
            "evaluation": {"folder": str(root), "split": "test", "metrics": metrics},
            "data": {"finetune": {"folder": str(self.examples)}},
            "stages": [{"cached": len(self.commands) > 2}],
        }
        (root / "summary.json").write_text(json.dumps(summary))


def test_a_table_of_the_seeds_and_a_picture(tmp_path, monkeypatch, capsys):
    pipelines = Pipelines(tiny_run.write_examples(tmp_path / "examples", splits=("test",)))
    monkeypatch.setattr(own_photographs.subprocess, "run", pipelines.run)
    minutes = iter([1.0, 3.5, 4.0, 8.0, 9.0, 9.0, 9.0, 9.0])
    monkeypatch.setattr(own_photographs, "_processor_minutes", lambda: next(minutes))
    arguments = ["--data=/data", "--set=bccd", f"--output={tmp_path / 'out'}", "--images=3"]
    assert own_photographs.main([*arguments, "--seeds=1,2"]) == 0
    assert f"--config={SCRIPT}:bccd,/data" in pipelines.commands[0]
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:5] == [
        "| bccd | 1 | 0.100 | 0.200 | 5 | 1.000 | 2.500 |",
        "| bccd | 2 | 0.200 | 0.400 | 5 | 2.000 | 4.000 |",
        "| bccd | mean | 0.150 | 0.300 |  |  |  |",
    ]
    drawn = (tmp_path / "out/bccd/test_photographs.jpg").read_bytes()
    sheet = Image.open(io.BytesIO(drawn))
    # Three photographs in pairs, two pairs to a row.
    assert sheet.width > 4 * own_photographs._PICTURE_SIDE
    assert sheet.height > 2 * own_photographs._PICTURE_SIDE * 48 / 64

    # From the cache: the time that the runs once took.
    assert own_photographs.main([*arguments, "--seeds=1,2"]) == 0
    assert capsys.readouterr().out.splitlines()[2:5] == lines[2:5]


def test_a_pipeline_that_fails_ends_the_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(own_photographs.subprocess, "run", Pipelines(tmp_path).run)
    arguments = ["--data=/data", "--set=rbc", f"--output={tmp_path / 'out'}", "--seeds=9"]
    assert own_photographs.main(arguments) == 7
