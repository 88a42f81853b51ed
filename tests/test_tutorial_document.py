"""docs/tutorial.md and its notebook are followed to a model that Python calls."""

import ast
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.fixtures.generated_export import SIZES, write_export
from tests.fixtures.shared_material import SHARED
from tests.use import tutorial

RBC = None if SHARED is None else SHARED / "real_data" / "rbc"
ROOT = Path(__file__).parents[1]


def test_the_blocks_are_the_document():
    text = tutorial.DOCUMENT.read_text()
    fenced = [
        b.text if b.kind == "markdown" else f"```{b.kind}\n{b.text}```\n"
        for b in tutorial.blocks(text)
    ]
    assert "".join(fenced) == text
    kinds = [block.kind for block in tutorial.runnable(text)]
    assert kinds == ["sh", "sh", "sh", "sh", "python"]


def test_options_are_for_the_training_alone():
    commands = [b.text for b in tutorial.runnable(tutorial.DOCUMENT.read_text()) if b.kind == "sh"]
    changed = [c for c in commands if tutorial.with_options(c, ("--few",)) != c]
    assert [shlex.split(command)[1] for command in changed] == ["pipelines/run_pipeline.py"]
    assert shlex.split(tutorial.with_options(changed[0], ("--few",)))[-1] == "--few"


def test_every_command_and_config_is_there():
    for block in tutorial.runnable(tutorial.DOCUMENT.read_text()):
        if block.kind == "python":
            ast.parse(block.text)
            continue
        interpreter, command, *arguments = shlex.split(block.text)
        assert interpreter == "python"
        assert (ROOT / command).is_file()
        for argument in arguments:
            if match := re.fullmatch(r"--config=([^:]+)(:.*)?", argument):
                assert (ROOT / match[1]).is_file()


def test_the_notebook_is_the_tutorial():
    written = tutorial.NOTEBOOK.read_text()
    assert written == tutorial.notebook(tutorial.DOCUMENT.read_text()), (
        "run: python -m tests.use.tutorial --write_notebook"
    )


def test_the_notebook_goes_to_the_project_s_folder(tmp_path, monkeypatch):
    cells = json.loads(tutorial.NOTEBOOK.read_text())["cells"]
    first = "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])
    monkeypatch.setenv("PATH", "/elsewhere")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    with pytest.raises(FileNotFoundError, match="where it is"):
        exec(first, {})
    (tmp_path / "pipelines").mkdir()
    exec(first, {})
    assert Path.cwd() == tmp_path
    assert os.environ["PATH"] == f"{Path(sys.executable).parent}:/elsewhere"
    exec(first, {})
    assert Path.cwd() == tmp_path


def _look_at_what_was_made(workplace: Path, printed: list[str], *, num_test_images: int) -> None:
    check, run, evaluated, predicted, called = printed
    assert "COCO JSON" in check
    assert "finetune  step 6/6" in run
    assert "AP " in evaluated
    runs = workplace / "runs"
    for report in (runs / "mine/report.html", runs / "mine_test/report.html"):
        assert "</html>" in report.read_text()
    assert (runs / "mine_found/detections.json").is_file()
    assert f"{num_test_images} images" in predicted
    assert called.count(" objects, ") == num_test_images
    assert (runs / "last_photograph.jpg").stat().st_size > 500


@pytest.mark.large
def test_followed_with_generated_photographs(tmp_path):
    tutorial.make_workplace(tmp_path / "work", write_export(tmp_path / "drawn"))
    printed = tutorial.follow(tmp_path / "work", options=tutorial.FEW_STEPS)
    _look_at_what_was_made(tmp_path / "work", printed, num_test_images=SIZES["test"])


@pytest.mark.large
@pytest.mark.skipif(RBC is None or not RBC.is_dir(), reason=f"no photographs at {RBC}")
def test_followed_with_real_photographs(tmp_path):
    tutorial.make_workplace(tmp_path, RBC)
    printed = tutorial.follow(tmp_path, options=tutorial.FEW_STEPS)
    _look_at_what_was_made(tmp_path, printed, num_test_images=10)


@pytest.mark.large
def test_the_notebook_is_executed(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    tutorial.make_workplace(tmp_path / "work", write_export(tmp_path / "drawn"))
    content = nbformat.read(tutorial.NOTEBOOK, as_version=4)
    nbformat.validate(content)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.source = tutorial.with_options(cell.source, tutorial.FEW_STEPS)
    for name, value in tutorial.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    # As Jupyter does: in the folder of the notebook.
    (tmp_path / "work/docs").mkdir()
    resources = {"metadata": {"path": str(tmp_path / "work/docs")}}
    nbclient.NotebookClient(content, timeout=900, resources=resources).execute()
    outputs = [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in content.cells
        if cell.cell_type == "code"
    ]
    # A command that fails leaves no exception in a notebook.
    assert not [text for text in outputs if "error:" in text or "Traceback" in text]
    _look_at_what_was_made(tmp_path / "work", outputs[1:], num_test_images=SIZES["test"])
