"""The command as a person runs it: any labelled images, whatever their ids and file names."""

import json

from tests.fixtures.commands import run_command
from tests.fixtures.evaluated_model import write_model
from tests.fixtures.records import jpeg


def test_images_with_other_ids_for_the_model_s_categories(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.DS_Store").write_text("")  # Systems leave such in any folder.
    names = ["Wäsche 1.jpg", "b.jpg", "c.jpg"]
    for number, name in enumerate(names):
        (photos / name).write_bytes(jpeg(60, 40, seed=number))
    # The model's ring is 2 and its cross 3.
    truth = {
        "images": [
            {"id": 40 + n, "file_name": name, "width": 60, "height": 40}
            for n, name in enumerate(names)
        ],
        "categories": [
            {"id": 1, "name": "cross"},
            {"id": 5, "name": "ring"},
            {"id": 7, "name": "x"},
        ],
        "annotations": [
            {"id": n, "image_id": 40 + n % 3, "category_id": category, "bbox": [5, 5, 30, 20]}
            for n, category in enumerate([1, 5, 7, 5])
        ],
    }
    (photos / "labels.json").write_text(json.dumps(truth))
    done = run_command(
        "evaluate",
        f"--model={write_model(tmp_path / 'model', finds_objects=True)}",
        f"--images={photos}",
        f"--annotations={photos / 'labels.json'}",
        f"--output={tmp_path / 'out'}",
        "--num_pictures=0",
        "--max_objects=3",
    )
    assert "AP         " in done.stdout
    assert "the model does not know x: their objects count as missed" in done.stdout
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["num_images"] == 3
    assert metrics["split"] == "test"
    assert "train" not in done.stdout
    assert {row["name"]: row["num_objects"] for row in metrics["per_class"]} == {
        "cross": 1,
        "ring": 2,
        "x": 1,
    }
    found = json.loads((tmp_path / "out/detections.json").read_text())
    assert {row["category_id"] for row in found} == {1, 5}
    assert {row["image_id"] for row in found} <= {40, 41, 42}
    assert "<html" in (tmp_path / "out/report.html").read_text()


def test_what_cannot_work_ends_in_one_line(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(8, 8, seed=1))
    flags = (f"--images={tmp_path}", f"--output={tmp_path / 'out'}")
    done = run_command("evaluate", "--model=nowhere", *flags, status=2)
    assert "nowhere is not a model folder" in done.stderr
    model = write_model(tmp_path / "model")
    done = run_command("evaluate", f"--model={model}", *flags, status=2)
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "out").exists()
