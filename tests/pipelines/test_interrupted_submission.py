"""Ctrl-C while a run is submitted to Vertex AI: what the command says is what it did."""

from types import SimpleNamespace

import pytest

from pipelines import run_pipeline
from pipelines.vertex import children, job, pinned_job, preflight, submit
from tests.fixtures.vertex_request import IMAGE, request


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture
def submission(monkeypatch):
    """`_submit` of a checked request, with Google's part replaced."""
    given = SimpleNamespace(preflight=True, compile=False, schedule="", follow=True)
    monkeypatch.setattr(run_pipeline, "FLAGS", given)
    monkeypatch.setattr(run_pipeline, "check_reachable", lambda *_: None)
    monkeypatch.setattr(preflight, "preflight", lambda _: [])
    monkeypatch.setattr(pinned_job, "pinned_job", lambda file, **_: file)
    monkeypatch.setattr(submit, "submit", lambda *_: SimpleNamespace(resource_name="runs/run-7"))
    monkeypatch.setattr(submit, "follow", lambda *_, **__: 0)
    monkeypatch.setattr(children, "children", lambda *_: ())
    on_cloud = job.on_cloud(request(), image=IMAGE)
    return lambda: run_pipeline._submit(on_cloud, "job.json", {})


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((submit, "submit"), r"it may have been submitted: look at https://.*project=project"),
        ((submit, "follow"), r"the run continues, and nothing follows it here .*run-7"),
        ((preflight, "preflight"), r"^$"),
    ],
)
def test_what_is_said(submission, monkeypatch, place, said):
    monkeypatch.setattr(*place, interrupt)
    with pytest.raises(KeyboardInterrupt, match=said):
        submission()


def test_before_it_nothing_was_submitted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # The log is written here.
    monkeypatch.setattr(run_pipeline, "FLAGS", SimpleNamespace(verbose=False, image=IMAGE))
    monkeypatch.setattr(job, "on_cloud", interrupt)
    with pytest.raises(KeyboardInterrupt, match="nothing was submitted"):
        run_pipeline._run_on_vertex(request())
