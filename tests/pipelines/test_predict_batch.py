"""predict_batch.py as a person runs it."""

import json

from tests.fixtures.commands import run_command
from tests.fixtures.evaluated_model import write_model
from tests.fixtures.records import jpeg


def test_what_cannot_work_ends_in_one_line(tmp_path):
    model_dir, photos = write_model(tmp_path / "model"), tmp_path / "photos"
    photos.mkdir()
    (photos / "1.jpg").write_bytes(jpeg(50, 60, seed=1))
    for flags, message in (
        ((f"--model={photos}", f"--images={photos}"), "is not a model folder"),
        ((f"--model={model_dir}", "--images=nowhere"), "nowhere: no such file or folder"),
        (
            (f"--model={model_dir}", f"--images={photos}", "--max_objects=999"),
            "max_objects=999 needs 4995 positions",
        ),
        ((f"--model={model_dir}", f"--images={photos}", "--score_treshold=1"), "did you mean"),
    ):
        done = run_command("predict_batch", *flags, f"--output={tmp_path}/out", status=2)
        assert message in done.stderr
    assert not json.loads((tmp_path / "out/progress/summary.json").read_text())
    (tmp_path / "out/notes.txt").write_text("mine")
    flags = (f"--model={model_dir}", "--images=nowhere", f"--output={tmp_path}/out")
    done = run_command("predict_batch", *flags, status=2)
    assert "holds 1 file that this command did not write (notes.txt)" in done.stderr
    done = run_command("predict_batch", *flags, "--overwrite", status=2)
    assert "nowhere: no such file or folder" in done.stderr
