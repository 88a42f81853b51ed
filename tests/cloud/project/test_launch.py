"""The README's command for the cloud, in a project where something is wrong: it says what helps."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.vertex import pinned_job
from pipelines.vertex import preflight as vertex_preflight
from pipelines.vertex import submit as vertex_submit
from pix2seq_model.experiment import estimate as estimates
from pix2seq_model.experiment.machines import MACHINES
from tests.cloud.project import google
from tests.cloud.project.cloud import ACCOUNT, CALLS, IMAGE, SOMEBODY, Cloud
from tests.fixtures import tiny_pipeline
from tests.fixtures.step_costs import traced

README = (Path(__file__).resolve().parents[3] / "README.md").read_text()
_HERE = {"PROJECT": "my-project", "REGION": "europe-west4", "BUCKET": "my-bucket"}
PLACES = [
    f"--config.data.{stage}.{kind}.{split}=gs://my-bucket/{stage}/{split}"
    for stage in ("pretrain", "finetune")
    for kind in ("images", "annotations")
    for split in ("train", "val")
]


def documented():
    """The command of the section "To the cloud", for the project of the tests."""
    (command,) = re.findall(
        r"^python (.*--orchestrator=vertex(?:.*\\\n)+.*)$", README, re.MULTILINE
    )
    for name, value in _HERE.items():
        command = re.sub(rf"\b{name}\b", value, command)
    command = command.replace("REPOSITORY", "pix2seq")
    program, *arguments = shlex.split(command.replace("\\\n", " "))
    assert program == "pipelines/run_pipeline.py"
    assert f"--image={IMAGE}" in arguments
    return [*arguments, "--submit", "--nofollow", f"--config.cloud.service_account={ACCOUNT}"]


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    cloud = Cloud(tmp_path, monkeypatch)
    cloud.set_up(CALLS)
    cloud.submitted = []

    def submit(request, job_file, parameters):
        cloud.submitted.append(request)
        return SimpleNamespace(resource_name="projects/12/pipelineJobs/run-1")

    session = google.session(cloud.project, f"user:{SOMEBODY}")
    for module in (vertex_preflight, pinned_job):
        monkeypatch.setattr(module, "authorized_session", lambda project: session)
    monkeypatch.setattr(vertex_submit, "submit", submit)
    monkeypatch.setattr(estimates, "step_costs", traced)
    # The bucket is this project's too, whether there is a network here or not.
    monkeypatch.setattr("pix2seq_model.store_access._connect", lambda target, proxy: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.chdir(tmp_path)
    cloud.sign_in_as(SOMEBODY)
    return cloud


def take_away(role):
    def change(content):
        bindings = content["bindings"]["project"]
        bindings.remove([f"roles/{role}", f"user:{SOMEBODY}"])

    return change


def other_image(content):
    content["pushed"][IMAGE]["labels"]["pix2seq.code"] = "of-last-week"


def without_quota(content):
    content["quotas"]["aiplatform.googleapis.com/custom_model_training_nvidia_a100_gpus"] = {
        "europe-west4": 1
    }


# One L4 as it is, and not what a preset would make of it.
L4 = MACHINES["l4"]
SMALL = [
    "--config.cloud.training.preset=none",
    f"--config.cloud.training.machine_type={L4.machine_type}",
    f"--config.cloud.training.accelerator_type={L4.accelerator_type}",
    "--config.cloud.training.accelerator_count=1",
]


def test_the_command_itself_is_accepted(cloud):
    ended = tiny_pipeline.run(*documented(), *PLACES)
    assert ended.status == 0, ended.err
    assert len(cloud.submitted) == 1


@pytest.mark.parametrize(
    ("wrong", "more", "what", "fix"),
    [
        (
            take_away("aiplatform.user"),
            PLACES,
            "you lack what roles/aiplatform.user grants",
            f"gcloud projects add-iam-policy-binding my-project --member=user:{SOMEBODY} "
            "--role=roles/aiplatform.user",
        ),
        (
            take_away("serviceusage.serviceUsageConsumer"),
            PLACES,
            "you may not ask Google's services on the account of project my-project",
            f"gcloud projects add-iam-policy-binding my-project --member=user:{SOMEBODY} "
            "--role=roles/serviceusage.serviceUsageConsumer",
        ),
        (None, [*PLACES, *SMALL], "finetune does not fit", "--config.finetune.precision="),
        (
            without_quota,
            PLACES,
            "training asks for 8 NVIDIA_TESLA_A100, the quota in europe-west4 is 1",
            "ask for more of aiplatform.googleapis.com/custom_model_training_nvidia_a100_gpus",
        ),
        (
            other_image,
            PLACES,
            "was built with other code than here (of-last-week",
            f"make image IMAGE={IMAGE} && docker push {IMAGE}",
        ),
        (
            None,
            [],
            "these places are on this machine",
            "Copy them to a bucket and name that:",
        ),
    ],
    ids=["roles", "project", "machine", "quota", "image", "places"],
)
def test_what_is_wrong_is_refused_with_what_helps(wrong, more, what, fix, cloud):
    if wrong is not None:
        with cloud.project.change() as content:
            wrong(content)
    ended = tiny_pipeline.run(*documented(), *more)
    assert ended.status == 2
    assert what in ended.err
    assert fix in ended.err
    assert cloud.submitted == []


def test_the_command_that_helps_helps(cloud):
    """A role that lacks is granted by an owner, as the message says; the same command goes on."""
    with cloud.project.change() as content:
        take_away("aiplatform.user")(content)
    ended = tiny_pipeline.run(*documented(), *PLACES)
    (fix,) = re.findall(r"^ *(gcloud projects add-iam.*aiplatform\.user)$", ended.err, re.MULTILINE)
    cloud.fix(fix)
    cloud.sign_in_as(SOMEBODY)
    assert tiny_pipeline.run(*documented(), *PLACES).status == 0
    assert len(cloud.submitted) == 1
