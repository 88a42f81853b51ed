"""The command as a person runs it."""

import gzip
import json
from pathlib import Path

import pytest

from tests.fixtures.commands import run_command

DATA = Path(__file__).parents[1] / "data" / "evaluation"
TRUTH = DATA / "instances_val2014_100.json"
DETECTIONS = DATA / "instances_val2014_fakebbox100_results.json"


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_numbers_table_and_report(engine, tmp_path):
    done = run_command(
        "evaluate_detections",
        f"--ground_truth={TRUTH}",
        f"--detections={DETECTIONS}",
        f"--output={tmp_path / 'out'}",
        f"--engine={engine}",
    )
    assert "AP         0.505" in done.stdout
    assert "person" in done.stdout
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["AP"] == pytest.approx(0.504581, abs=5e-7)
    assert metrics["AR_large"] == pytest.approx(0.564291, abs=5e-7)
    assert len(metrics["per_class"]) == 80
    assert "0.505" in (tmp_path / "out" / "report.html").read_text()


def test_a_packed_file_with_text_for_ids(tmp_path):
    truth = {
        "images": [{"id": "a.jpg", "file_name": "a.jpg"}],
        "categories": [{"id": "cat", "name": "Cat"}, {"id": "cat", "name": "Cat"}],
        "annotations": [
            {"image_id": "a.jpg", "category_id": "cat", "bbox": [1, 2, 30, 40], "iscrowd": "0"}
        ],
    }
    found = {"image_id": "a.jpg", "bbox": [1, 2, 30, 40], "score": 0.9}
    rows = [{**found, "category_id": "cat"}, {**found, "category_id": "dog"}]
    (tmp_path / "truth.json.gz").write_bytes(gzip.compress(json.dumps(truth).encode()))
    (tmp_path / "found.json").write_text(json.dumps(rows))
    done = run_command(
        "evaluate_detections",
        f"--ground_truth={tmp_path}/truth.json.gz",
        f"--detections={tmp_path}/found.json",
        f"--output={tmp_path}",
        "--image_ids=a.jpg",
    )
    assert "AP         1.000" in done.stdout
    assert "1 detections of category dog, which the truth does not list" in done.stdout
    assert "1 kept    area_from_box" in done.stdout


def test_some_images_only(tmp_path):
    flags = (f"--ground_truth={TRUTH}", f"--detections={DETECTIONS}", f"--output={tmp_path}")
    # Read as every place is: the home folder, and a comma that belongs to the name.
    (tmp_path / "a,b.txt").write_text("42\n73\n74\n")
    home = {"HOME": str(tmp_path)}
    run_command("evaluate_detections", *flags, "--image_ids=~/a,b.txt", environment=home)
    from_file = json.loads((tmp_path / "metrics.json").read_text())
    assert from_file["num_images"] == 3
    run_command("evaluate_detections", *flags, "--image_ids=74,42,73")
    assert json.loads((tmp_path / "metrics.json").read_text()) == from_file


def test_renamed_photographs_have_the_same_ap(tmp_path):
    """Numbers that are counted are other images' in the truth; their file names are not."""
    truth, rows = json.loads(TRUTH.read_text()), json.loads(DETECTIONS.read_text())
    names = {row["id"]: f"photo {n}.jpg" for n, row in enumerate(truth["images"][::-1])}
    numbers = {key: 42 + n for n, key in enumerate(names)}
    for row in truth["images"]:
        row["file_name"] = names[row["id"]]
    for row in rows:
        key = row["image_id"]
        row.update(image_id=numbers[key], file_name=names[key])
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(rows))
    flags = (
        f"--ground_truth={tmp_path}/truth.json",
        f"--detections={tmp_path}/found.json",
        f"--output={tmp_path}",
    )
    done = run_command("evaluate_detections", *flags)
    assert f"{len({row['image_id'] for row in rows})} images matched by their file" in done.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["AP"] == pytest.approx(0.504581, abs=5e-7)
    for row in rows:
        row["file_name"] = f"other {row['file_name']}"
    (tmp_path / "found.json").write_text(json.dumps(rows))
    assert "no image fits" in run_command("evaluate_detections", *flags, status=2).stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((f"--ground_truth={DATA}/none.json",), "none.json: no such file"),
        ((f"--ground_truth={DETECTIONS}",), "COCO's format is one JSON object"),
        ((f"--ground_truth={TRUTH}", "--image_ids=1"), "[1]"),
        ((f"--ground_truth={TRUTH}", "--image_ids=here.txt"), "neither an id nor a file"),
        ((f"--ground_truth={TRUTH}", "--engine=slow"), "engine"),
        ((f"--ground_truth={TRUTH}", "--images=nowhere"), "--images=nowhere: no such folder"),
        ((f"--ground-truth={TRUTH}",), "did you mean --ground_truth?"),
    ],
)
def test_what_cannot_work_ends_in_one_line(flags, message, tmp_path):
    rest = (f"--detections={DETECTIONS}", f"--output={tmp_path}")
    assert message in run_command("evaluate_detections", *flags, *rest, status=2).stderr
