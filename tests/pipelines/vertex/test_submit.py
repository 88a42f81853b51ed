"""Google's own client submits to a local stand-in for Vertex AI; a run is followed to its end."""

import dataclasses
import datetime
import io
import json
from types import SimpleNamespace
from unittest import mock
from urllib.parse import unquote

import google.auth
import pytest
import requests
from google.api_core.exceptions import PermissionDenied, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from google.cloud import aiplatform
from google.cloud.aiplatform.utils import resource_manager_utils
from google.cloud.dataflow_v1beta3 import JobState
from rich.console import Console

from pipelines.request import Request
from pipelines.vertex import submit as vertex_submit
from pipelines.vertex.children import Child, children
from pipelines.vertex.job import on_cloud
from pix2seq_model.errors import ConfigError
from pix2seq_model.experiment import load_config
from tests.fixtures.stand_in import stand_in

CONSOLE = "https://console.cloud.google.com"
JOBS = "/v1/projects/p/locations/europe-west4/pipelineJobs"
OVERRIDES = ("cloud.service_account=trainer@p.iam.gserviceaccount.com",)


@pytest.fixture
def vertex(monkeypatch):
    with stand_in() as service:
        service.answers = {
            "GET /storage/v1/b/bucket": (
                200,
                {"name": "bucket", "location": "EUROPE-WEST4", "projectNumber": "1"},
            ),
            f"POST {JOBS}": lambda body: (
                200,
                {**body, "name": f"{JOBS[4:]}/run-1", "state": "PIPELINE_STATE_PENDING"},
            ),
        }
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.address)
        # The client asks whose the bucket is, at an address that cannot be changed.
        monkeypatch.setattr(resource_manager_utils, "get_project_number", lambda *_, **__: 1)
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
def on_cloud_with():
    def on_cloud_with(*overrides):
        request = Request(
            config=load_config("configs/full.py:vit_b,640", (*OVERRIDES, *overrides)),
            config_name="configs/full.py:vit_b,640",
            overrides=(*OVERRIDES, *overrides),
            pipeline_root="gs://bucket/root",
            beam_args=("--project=p", "--region=europe-west4", "--runner=DirectRunner"),
        )
        return on_cloud(request, image="image:1")

    return on_cloud_with


@pytest.fixture
def request_on_cloud(on_cloud_with):
    return on_cloud_with()


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
                        "inputDefinitions": {
                            "parameters": {
                                "push_destination": {"type": "STRING"},
                                "pretrain_overrides": {"type": "STRING"},
                            }
                        },
                        "dag": {
                            "tasks": {
                                "Step": {
                                    "componentRef": {"name": "Step"},
                                    "taskInfo": {"name": "Step"},
                                    "cachingOptions": {"enableCache": True},
                                }
                            }
                        },
                    },
                },
                "runtimeConfig": {
                    "gcsOutputDirectory": "gs://bucket/root",
                    "parameters": {
                        "push_destination": {"stringValue": "gs://bucket/root/serving_model"},
                        "pretrain_overrides": {"stringValue": ""},
                    },
                },
            }
        )
    )
    return path


def test_what_is_submitted(vertex, request_on_cloud, job_file):
    job = vertex_submit.submit(
        request_on_cloud,
        job_file,
        parameters={"push_destination": "gs://elsewhere"},
    )
    body = next(body for method, path, body in vertex.asked if method == "POST")
    assert body["displayName"] == request_on_cloud.pipeline_name
    assert body["serviceAccount"] == "trainer@p.iam.gserviceaccount.com"
    assert body["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"
    assert body["labels"] == {"pipeline": "pix2seq", "pix2seq-config": "pix2seq-full-vit-b-640"}
    assert body["runtimeConfig"]["parameters"] == {
        "push_destination": {"stringValue": "gs://elsewhere"},
        "pretrain_overrides": {"stringValue": ""},
    }
    task = body["pipelineSpec"]["root"]["dag"]["tasks"]["Step"]
    assert task["cachingOptions"]["enableCache"] is True
    link = vertex_submit.console_link(job, request_on_cloud)
    assert link.endswith("/europe-west4/pipelines/runs/run-1?project=p")


NETWORK = "projects/1/global/networks/n"
KEY = "projects/p/locations/europe-west4/keyRings/ring/cryptoKeys/key"


def posted(vertex, place):
    return [b for method, path, b in vertex.asked if method == "POST" and path.startswith(place)]


def test_network_and_key(vertex, on_cloud_with, job_file):
    wanted = on_cloud_with(f"cloud.network={NETWORK}", f"cloud.encryption_key={KEY}")
    vertex_submit.submit(wanted, job_file, {})
    (body,) = posted(vertex, JOBS)
    assert body["network"] == NETWORK
    assert body["encryptionSpec"] == {"kmsKeyName": KEY}


def test_a_network_by_private_service_connect(vertex, on_cloud_with, job_file):
    attachment = "projects/p/regions/europe-west4/networkAttachments/a"
    wanted = on_cloud_with(f"cloud.network_attachment={attachment}")
    vertex_submit.submit(wanted, job_file, {})
    (body,) = posted(vertex, JOBS)
    assert body["pscInterfaceConfig"] == {"networkAttachment": attachment}
    with pytest.raises(ConfigError, match=r"cloud\.network_attachment: .* of a schedule"):
        vertex_submit.schedule(wanted, job_file, {}, cron="0 3 * * 1")


def test_a_run_of_an_experiment(vertex, on_cloud_with, job_file):
    store = f"{JOBS[4:].removesuffix('/pipelineJobs')}/metadataStores/default"
    experiment = {"name": f"{store}/contexts/coco", "schemaTitle": "system.Experiment"}
    run = {"name": f"{store}/contexts/run-1", "schemaTitle": "system.PipelineRun"}
    vertex.answers |= {
        f"GET {JOBS}/run-1": (
            200,
            {
                "name": f"{JOBS[4:]}/run-1",
                "state": "PIPELINE_STATE_RUNNING",
                "jobDetail": {"pipelineRunContext": run},
            },
        ),
        f"GET /v1/{store}": (200, {"name": store}),
        f"GET /v1/{experiment['name']}": (200, {**experiment, "metadata": {"x": 1}}),
        f"POST /v1/{experiment['name']}:addContextChildren": (200, {}),
    }
    vertex_submit.submit(on_cloud_with("cloud.experiment=coco"), job_file, {})
    (joined,) = posted(vertex, f"/v1/{experiment['name']}:addContextChildren")
    assert joined["childContexts"] == [run["name"]]


def test_an_experiment_that_cannot_be_had(vertex, on_cloud_with, job_file):
    wanted = on_cloud_with("cloud.experiment=coco")
    with pytest.raises(ConfigError, match=r"cloud\.experiment=coco: .* not created"):
        vertex_submit.submit(wanted, job_file, {})
    assert posted(vertex, JOBS) == []


def test_a_parameter_that_the_job_lacks(request_on_cloud, job_file):
    with pytest.raises(ConfigError, match="no parameter 'steps'; it has pretrain_overrides, push"):
        vertex_submit.submit(request_on_cloud, job_file, parameters={"steps": "3"})


def test_a_schedule(vertex, request_on_cloud, job_file):
    schedules = JOBS.replace("pipelineJobs", "schedules")
    vertex.answers[f"POST {schedules}"] = lambda body: (
        200,
        {**body, "name": f"{schedules[4:]}/7", "state": "ACTIVE"},
    )
    vertex.answers[f"GET {schedules}/7"] = (200, {"name": f"{schedules[4:]}/7", "state": "ACTIVE"})
    plan = vertex_submit.schedule(
        request_on_cloud,
        job_file,
        parameters={"pretrain_overrides": "pretrain.steps=5"},
        cron="TZ=Europe/Berlin 0 3 * * 1",
    )
    body = next(body for method, path, body in vertex.asked if path.startswith(schedules))
    assert body["cron"] == "TZ=Europe/Berlin 0 3 * * 1"
    assert body["maxConcurrentRunCount"] == "1"
    wanted = body["createPipelineJobRequest"]
    assert wanted["parent"] == "projects/p/locations/europe-west4"
    submitted = wanted["pipelineJob"]
    assert submitted["serviceAccount"] == "trainer@p.iam.gserviceaccount.com"
    assert submitted["labels"]["pix2seq-config"] == "pix2seq-full-vit-b-640"
    assert submitted["runtimeConfig"]["parameters"]["pretrain_overrides"] == {
        "stringValue": "pretrain.steps=5"
    }
    assert plan.resource_name.endswith("schedules/7")


def test_cancelling_ends_all_that_the_run_started(vertex, request_on_cloud, job_file, monkeypatch):
    """Jobs of an earlier run, or of another config, continue."""
    place = JOBS.removesuffix("/pipelineJobs")
    early, now = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    run = {"name": f"{JOBS[4:]}/run-1", "createTime": now, "state": "PIPELINE_STATE_RUNNING"}
    custom = [
        {"name": f"{place[4:]}/customJobs/{i}", "displayName": "j", "createTime": t, "jobSpec": {}}
        for i, t in ((1, early), (2, now))
    ]
    label = {"pix2seq-config": "pix2seq-full-vit-b-640"}
    dataflow = [
        {"id": "old", "labels": label, "createTime": early},
        {"id": "ours", "name": "conversion", "labels": label, "createTime": now},
        {"id": "other", "labels": {"pix2seq-config": "pix2seq-demo"}, "createTime": now},
    ]
    flow = "/v1b3/projects/p/locations/europe-west4/jobs"
    vertex.answers |= {
        f"POST {JOBS}": (200, run),
        f"GET {JOBS}/run-1": (200, run),
        f"POST {JOBS}/run-1:cancel": (200, {}),
        f"GET {place}/customJobs": (200, {"customJobs": custom}),
        f"GET {place}/customJobs/2": (200, custom[1]),
        f"POST {place}/customJobs/2:cancel": (200, {}),
        f"GET {flow}": (200, {"jobs": dataflow}),
        f"PUT {flow}/ours": (200, {}),
    }
    beam_args = (
        *("--runner=DataflowRunner", f"--dataflow_endpoint={vertex.address}"),
        *("--project=p", "--region=europe-west4"),
    )
    wanted = dataclasses.replace(request_on_cloud, beam_args=beam_args)
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (AnonymousCredentials(), "p"))
    job = vertex_submit.submit(wanted, job_file, {})
    early_and_ours = {child.name: child.link for child in children(job, wanted)}
    assert early_and_ours == {
        "j": f"{CONSOLE}/vertex-ai/locations/europe-west4/training/2?project=p",
        "conversion": f"{CONSOLE}/dataflow/jobs/europe-west4/ours?project=p",
    }
    vertex.asked.clear()
    vertex_submit.cancel(job, wanted)
    ended = [path.partition("?")[0] for method, path, _ in vertex.asked if ":cancel" in path]
    assert ended == [f"{JOBS}/run-1:cancel", f"{place}/customJobs/2:cancel"]
    (asked,) = (path for method, path, _ in vertex.asked if path.startswith(f"{place}/customJobs?"))
    assert "labels.pix2seq-config" in unquote(asked)
    assert 'state="JOB_STATE_RUNNING"' in unquote(asked)
    stopped = [(path, body) for method, path, body in vertex.asked if method == "PUT"]
    assert [path.partition("?")[0] for path, _ in stopped] == [f"{flow}/ours"]
    assert stopped[0][1]["requestedState"] == JobState.JOB_STATE_CANCELLED


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
        if first == "no answer":
            raise ServiceUnavailable("try again")
        return state(f"PIPELINE_STATE_{first}")

    @property
    def task_details(self):
        start = datetime.datetime(2026, 1, 1)
        end = start + datetime.timedelta(seconds=90)
        last = "FAILED" if self._states[0] == "FAILED" else "RUNNING"
        return [
            SimpleNamespace(
                task_name="Pretrain", state=state("SUCCEEDED"), start_time=start, end_time=end
            ),
            SimpleNamespace(
                task_name="Finetune",
                state=state(last),
                start_time=start,
                end_time=None,
                error=SimpleNamespace(message="out of [quota]"),
            ),
        ]

    def cancel(self):
        self.cancelled = True
        self._states = ["CANCELLING", "CANCELLED"]


def follow(run, *, ask=None, sleep=lambda _: None, started=tuple):
    out = io.StringIO()
    console = Console(file=out, width=80)
    with mock.patch("builtins.input", ask), mock.patch.object(vertex_submit.time, "sleep", sleep):
        status = vertex_submit.follow(run, console, cancel=run.cancel, started=started)
    return status, " ".join(out.getvalue().split())


@pytest.mark.parametrize(("end", "status"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELLED", 130)])
def test_followed_to_its_end(end, status):
    ended, text = follow(Run("PENDING", "RUNNING", "no answer", "RUNNING", end))
    assert ended == status
    assert "Pretrain SUCCEEDED 90 s" in text
    assert ("Cancelled." if end == "CANCELLED" else f"The run ended: {end}") in text
    assert ("Finetune failed: out of [quota]" in text) is (end == "FAILED")


def test_each_job_that_the_run_starts_is_linked_once():
    def child(name):
        return Child(name=name, link=f"https://c/{name}?project=p", cancel=lambda: None)

    refusals = PermissionDenied("no role"), RefreshError("expired"), requests.ConnectionError()
    answers = iter([(), (child("train"),), *refusals])

    def started():
        answer = next(answers, (child("train"), child("more")))
        if isinstance(answer, Exception):
            raise answer
        return answer

    ended, text = follow(Run(*["RUNNING"] * 6, "SUCCEEDED"), started=started)
    assert ended == 0
    assert text.count("train: https://c/train?project=p") == 1
    assert text.count("more: https://c/more?project=p") == 1


def test_a_service_that_never_answers_again():
    with pytest.raises(ServiceUnavailable):
        follow(Run("RUNNING", "no answer"))


def test_a_state_that_is_never_said():
    with pytest.raises(ConnectionError, match=r"does not say the state of .*/run-1"):
        follow(Run("RUNNING", "UNSPECIFIED", "RUNNING", "UNSPECIFIED"))


def interrupt_once():
    waits = iter([KeyboardInterrupt])

    def sleep(_):
        for raised in waits:
            raise raised

    return sleep


@pytest.mark.parametrize(("answer", "cancelled"), [("y", True), ("", False), ("no", False)])
def test_ctrl_c_asks_before_it_cancels(answer, cancelled):
    run = Run("RUNNING")
    status, text = follow(run, ask=lambda _: answer, sleep=interrupt_once())
    assert run.cancelled is cancelled
    assert status == (130 if cancelled else 0)
    assert ("Cancelled." if cancelled else "The run continues") in text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, EOFError])
def test_no_answer_cancels_nothing(kind):
    def nobody(_):
        raise kind

    run = Run("RUNNING")
    status, text = follow(run, ask=nobody, sleep=interrupt_once())
    assert (run.cancelled, status) == (False, 0)
    assert "The run continues; nothing follows it here any more." in text


def test_ctrl_c_while_it_is_cancelled():
    run = Run("RUNNING")
    run.cancel = interrupt = mock.Mock(side_effect=KeyboardInterrupt)
    status, text = follow(run, ask=lambda _: "y", sleep=interrupt_once())
    assert (interrupt.call_count, status) == (1, 130)
    assert "It may not have been told to stop, and continue" in text


def test_ctrl_c_twice_does_not_wait_for_the_end():
    def interrupt(_):
        raise KeyboardInterrupt

    run = Run("RUNNING")
    status, text = follow(run, ask=lambda _: "y", sleep=interrupt)
    assert run.cancelled
    assert status == 130
    assert "It was told to stop" in text
