"""The command writes what the runner reads, of a model folder and of a published checkpoint."""

import pytest

from tests.fixtures import reference
from tests.fixtures.commands import run_command
from tests.fixtures.evaluated_model import write_model
from tests.fixtures.records import jpeg


@pytest.mark.large
@pytest.mark.parametrize("kind", ["model folder", "published checkpoint"])
def test_what_is_written_runs(kind, tmp_path):
    from pix2seq_model.onnx_runner.detector import OnnxDetector

    if kind == "model folder":
        model = tmp_path / "model"
        write_model(model, finds_objects=True)
    else:
        model = reference.model_folder("vit") / "checkpoint_dir"
    output = tmp_path / "exported"
    done = run_command(
        "export_onnx",
        *(f"--model={model}", f"--output={output}", "--int8=decoder", "--max_objects=4"),
    )
    assert f"float32 and int8: {output}" in done.stdout
    for precision in ("float32", "int8"):
        (rows,) = OnnxDetector(output, precision=precision).detect_files([jpeg(40, 30, seed=1)])
        assert len(rows) <= 4
