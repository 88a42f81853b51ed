"""A stage whose success cannot be noted has no outputs; a noted one keeps its own."""

import errno
import os
from types import SimpleNamespace

import pytest
from ml_metadata.errors import InternalError
from tfx.dsl.component.experimental.annotations import OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher
from tfx.types.standard_artifacts import Model

from pipelines.local import run as local_run
from pipelines.local.run import run_locally
from pipelines.local.stage_errors import StageError
from pix2seq_model.errors import UnavailableError


@component
def Writer(model: OutputArtifact[Model]) -> None:  # noqa: N802
    """Writes a file to its output."""
    with open(os.path.join(model.uri, "written"), "w") as file:
        file.write("whole")


def run(root):
    file = str(root / "metadata.sqlite")
    pipeline = Pipeline(
        pipeline_name="tiny",
        pipeline_root=str(root),
        components=[Writer().with_id("Writer")],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(file),
    )
    said = []
    runs = run_locally(pipeline, selected=["Writer"], on_start=said.append, on_cached=said.append)
    return runs[0].outputs["model"].uri


def written(root):
    return [str(path.relative_to(root)) for path in root.rglob("written")]


def refuse(monkeypatch, name, error, *, after=False):
    """Lets a step of TFX's launcher fail, before or after it has done its work."""
    step = getattr(launcher.Launcher, name)

    def refused(self, *arguments, **named):
        if after:
            step(self, *arguments, **named)
        raise error

    monkeypatch.setattr(launcher.Launcher, name, refused)


def test_outputs_that_cannot_be_noted_are_removed(tmp_path, monkeypatch):
    full = InternalError("Error when executing query: database or disk is full query: COMMIT;")
    with monkeypatch.context() as disk:
        refuse(disk, "_publish_successful_execution", full)
        with pytest.raises(UnavailableError, match=r"metadata\.sqlite cannot be written .*disk is"):
            run(tmp_path)
    assert written(tmp_path) == []
    again = os.path.relpath(run(tmp_path), tmp_path)
    assert written(tmp_path) == [f"{again}/written"]


def test_outputs_that_are_noted_stay(tmp_path, monkeypatch):
    refuse(
        monkeypatch,
        "_publish_successful_execution",
        OSError(errno.ENOSPC, "No space left on device", "/logs/x"),
        after=True,
    )
    with pytest.raises(StageError, match=r"Writer failed: /logs/x: No space left .*free some"):
        run(tmp_path)
    assert written(tmp_path) == ["Writer/model/1/written"]


def test_an_output_that_is_a_file_is_removed_too(tmp_path, monkeypatch):
    """As TFX's values are."""
    monkeypatch.setattr(local_run, "_is_noted", lambda *_: False)
    (tmp_path / "value").write_text("1")
    (tmp_path / "users").write_text("2")
    outputs = [
        SimpleNamespace(uri=str(tmp_path / "value"), is_external=False),
        SimpleNamespace(uri=str(tmp_path / "gone"), is_external=False),
        SimpleNamespace(uri=str(tmp_path / "users"), is_external=True),
    ]
    execution = SimpleNamespace(output_dict={"version": outputs}, exec_properties={})
    local_run._clear(execution, None)
    assert [path.name for path in tmp_path.iterdir()] == ["users"]
