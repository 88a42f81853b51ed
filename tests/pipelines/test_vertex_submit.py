"""Google's own client submits to a local stand-in for Vertex AI; a run is followed to its end."""

import datetime
import io
import json
from types import SimpleNamespace

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from rich.console import Console

from pipelines import vertex_submit
from pipelines.request import Request
from pipelines.vertex_job import on_cloud
from pix2seq_model.experiment import load_config
from tests.pipelines.stand_in import stand_in

JOBS = "/v1/projects/p/locations/europe-west4/pipelineJobs"
OVERRIDES = ("cloud.service_account=trainer@p.iam.gserviceaccount.com",)


@pytest.fixture
def vertex(monkeypatch):
    with stand_in() as service:
        service.answers = {
            "GET /storage/v1/b/bucket": (200, {"name": "bucket", "location": "EUROPE-WEST4"}),
            f"POST {JOBS}": lambda body: (
                200,
                {**body, "name": f"{JOBS[4:]}/run-1", "state": "PIPELINE_STATE_PENDING"},
            ),
        }
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.address)
        aiplatform.init(
            project="p",
            location="europe-west4",
            credentials=AnonymousCredentials(),
            api_transport="rest",
            api_endpoint=service.address,
        )
        yield service
        aiplatform.initializer.global_config.__init__()


@pytest.fixture
def request_on_cloud():
    request = Request(
        config=load_config("configs/full.py", OVERRIDES),
        config_name="configs/full.py",
        overrides=OVERRIDES,
        pipeline_root="gs://bucket/root",
        beam_args=("--project=p", "--region=europe-west4"),
    )
    return on_cloud(request, image="image:1")


@pytest.fixture
def job_file(tmp_path):
    """The smallest job that the client takes."""
    container = {"image": "image:1", "command": ["true"]}
    path = tmp_path / "job.json"
    path.write_text(
        json.dumps(
            {
                "pipelineSpec": {
                    "pipelineInfo": {"name": "pix2seq-full"},
                    "schemaVersion": "2.0.0",
                    "sdkVersion": "tfx-1.21.0",
                    "components": {"Step": {"executorLabel": "Step_executor"}},
                    "deploymentSpec": {"executors": {"Step_executor": {"container": container}}},
                    "root": {
                        "dag": {
                            "tasks": {
                                "Step": {
                                    "componentRef": {"name": "Step"},
                                    "taskInfo": {"name": "Step"},
                                    "cachingOptions": {"enableCache": True},
                                }
                            }
                        }
                    },
                },
                "runtimeConfig": {"gcsOutputDirectory": "gs://bucket/root"},
            }
        )
    )
    return path


def test_what_is_submitted(vertex, request_on_cloud, job_file):
    job = vertex_submit.submit(request_on_cloud, job_file, credentials=AnonymousCredentials())
    body = next(body for method, path, body in vertex.asked if method == "POST")
    assert body["displayName"] == request_on_cloud.pipeline_name
    assert body["serviceAccount"] == "trainer@p.iam.gserviceaccount.com"
    assert body["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"
    assert body["labels"]["pix2seq-config"] == request_on_cloud.pipeline_name
    task = body["pipelineSpec"]["root"]["dag"]["tasks"]["Step"]
    assert task["cachingOptions"]["enableCache"] is True
    link = vertex_submit.console_link(job, request_on_cloud)
    assert link.endswith("/europe-west4/pipelines/runs/run-1?project=p")


def state(name):
    return SimpleNamespace(name=name)


class Run:
    """A run as the client shows it, one state after the other."""

    resource_name = "projects/p/locations/r/pipelineJobs/run-1"

    def __init__(self, *states):
        self._states = list(states)
        self.cancelled = False

    @property
    def state(self):
        first = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return state(f"PIPELINE_STATE_{first}")

    @property
    def task_details(self):
        start = datetime.datetime(2026, 1, 1)
        end = start + datetime.timedelta(seconds=90)
        return [
            SimpleNamespace(
                task_name="Pretrain", state=state("SUCCEEDED"), start_time=start, end_time=end
            ),
            SimpleNamespace(
                task_name="Finetune", state=state("RUNNING"), start_time=start, end_time=None
            ),
        ]

    def cancel(self):
        self.cancelled = True


def follow(run, *, ask=None, sleep=lambda _: None):
    out = io.StringIO()
    status = vertex_submit.follow(run, Console(file=out, width=80), ask=ask, sleep=sleep)
    return status, " ".join(out.getvalue().split())


@pytest.mark.parametrize(("end", "status"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_followed_to_its_end(end, status):
    ended, text = follow(Run("PENDING", "RUNNING", "RUNNING", end))
    assert ended == status
    assert "Pretrain SUCCEEDED 90 s" in text
    assert f"The run ended: {end}" in text


def interrupt(_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("answer", "cancelled"), [("y", True), ("", False), ("no", False)])
def test_ctrl_c_asks_before_it_cancels(answer, cancelled):
    run = Run("RUNNING")
    status, text = follow(run, ask=lambda _: answer, sleep=interrupt)
    assert run.cancelled is cancelled
    assert status == (130 if cancelled else 0)
    assert ("Cancelled" if cancelled else "The run goes on") in text
