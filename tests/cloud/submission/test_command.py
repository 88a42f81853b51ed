"""The command that a person gives: compiled, checked, submitted, followed; by Google's client.

`make test-cloud`; against a local stand-in for Google's REST interfaces.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.stand_in import stand_in
from tests.pipelines.vertex.test_preflight import POLICY, QUOTA, project_answers, quota

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(900)]

PROJECT = Path(__file__).resolve().parents[3]
JOBS = "/v1/projects/p/locations/europe-west4/pipelineJobs"
SCHEDULES = "/v1/projects/p/locations/europe-west4/schedules"
PLACES = tuple(
    f"--config.data.{stage}.{kind}.{split}=gs://bucket/{stage}"
    for stage in ("pretrain", "finetune")
    for kind in ("images", "annotations")
    for split in ("train", "val")
)


@pytest.fixture
def vertex():
    """A project in which nothing is missing, and a run that ends after two looks."""
    with stand_in() as service:
        states = ["PIPELINE_STATE_RUNNING", "PIPELINE_STATE_RUNNING"]

        def look(_):
            state = states.pop() if states else "PIPELINE_STATE_SUCCEEDED"
            task = {"taskName": "Finetune", "state": "SUCCEEDED"}
            return 200, {
                "name": f"{JOBS[4:]}/run-1",
                "state": state,
                "jobDetail": {"taskDetails": [task]},
            }

        service.answers = {
            **project_answers(),
            f"POST {JOBS}": lambda body: (
                200,
                {**body, "name": f"{JOBS[4:]}/run-1", "state": "PIPELINE_STATE_PENDING"},
            ),
            f"GET {JOBS}/run-1": look,
            f"POST {SCHEDULES}": lambda body: (
                200,
                {**body, "name": f"{SCHEDULES[4:]}/7", "state": "ACTIVE"},
            ),
            f"GET {SCHEDULES}/7": (200, {"name": f"{SCHEDULES[4:]}/7", "state": "ACTIVE"}),
        }
        yield service


def submitted(vertex, folder, *more):
    program = PROJECT / "tests" / "cloud" / "submission" / "pointed_command.py"
    image = f"{vertex.address.removeprefix('http://')}/p/r/pix2seq:1"
    return subprocess.run(
        [
            *(sys.executable, str(program), vertex.address),
            *("--orchestrator=vertex", "--submit", "--config=configs/full.py:vit_b,640"),
            *("--project=p", "--region=europe-west4", "--runner=DataflowRunner", *PLACES),
            *("--pipeline_root=gs://bucket/root", f"--image={image}"),
            *("--config.cloud.service_account=s@p.iam", "--config.cloud.labels.team=vision"),
            *(f"--job_file={folder / 'job.json'}", *more),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "STORAGE_EMULATOR_HOST": vertex.address,
        },
    )


def bodies(vertex, path):
    return [body for verb, asked, body in vertex.asked if verb == "POST" and path in asked]


def test_compiled_checked_submitted_followed(vertex, tmp_path):
    done = submitted(vertex, tmp_path, "--parameters=finetune_overrides=finetune.steps=5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pipelines/runs/run-1?project=p" in done.stdout
    assert "Finetune" in done.stdout
    assert "The run ended: SUCCEEDED" in done.stdout
    (body,) = bodies(vertex, JOBS)
    written = json.loads((tmp_path / "job.json").read_text())
    assert body["pipelineSpec"] == written["pipelineSpec"]
    # The tag is gone, from steps, workers and training jobs alike.
    assert "pix2seq:1" not in json.dumps(body)
    executors = body["pipelineSpec"]["deploymentSpec"]["executors"]
    image = executors["Finetune_executor"]["container"]["image"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+/p/r/pix2seq@sha256:[0-9a-f]{64}", image)
    assert f"Image {image.partition('@')[0]}:1 is {image.partition('@')[2]}" in done.stdout
    assert body["serviceAccount"] == "s@p.iam"
    assert body["labels"] == {
        "pipeline": "pix2seq",
        "team": "vision",
        "pix2seq-config": "pix2seq-full-vit-b-640",
    }
    wanted = body["runtimeConfig"]["parameters"]
    assert wanted["finetune_overrides"] == {"stringValue": "finetune.steps=5"}
    assert wanted["push_destination"] == {"stringValue": "gs://bucket/root/serving_model"}
    # The same file once more, on a schedule and with another value.
    before = (tmp_path / "job.json").read_bytes()
    again = submitted(
        *(vertex, tmp_path, "--nocompile", "--schedule=0 3 * * 1"),
        "--parameters=push_destination=gs://bucket/b",
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert (tmp_path / "job.json").read_bytes() == before
    (plan,) = bodies(vertex, SCHEDULES)
    assert plan["cron"] == "0 3 * * 1"
    job = plan["createPipelineJobRequest"]["pipelineJob"]
    assert job["runtimeConfig"]["parameters"]["push_destination"]["stringValue"] == "gs://bucket/b"


def test_a_job_that_is_only_written_keeps_the_tag_and_asks_nobody(vertex, tmp_path):
    done = submitted(vertex, tmp_path, "--nosubmit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"It names \S+/pix2seq:1 by its tag; a submission puts its dig", done.stdout)
    assert "@sha256:" not in (tmp_path / "job.json").read_text()
    assert vertex.asked == []


def test_nothing_is_submitted_while_something_is_missing(vertex, tmp_path):
    """The proof can fail: with a quota too small and a role less, no job is asked for."""
    vertex.answers |= {QUOTA: quota(0), POLICY: (200, {})}
    done = submitted(vertex, tmp_path)
    assert done.returncode == 2
    assert "nothing was submitted; first fix this" in done.stderr
    assert "the quota in europe-west4 is 0" in done.stderr
    assert "--role=roles/dataflow.worker" in done.stderr
    assert not bodies(vertex, JOBS)
