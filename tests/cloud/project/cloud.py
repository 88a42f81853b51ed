"""The project that docs/cloud.md makes, its owner, and somebody who only submits."""

import subprocess
from pathlib import Path

from pipelines.image_identity import (
    CODE_LABEL,
    REQUIREMENTS_LABEL,
    code_digest,
    requirements_digest,
)
from pipelines.request import Request
from pipelines.vertex.job import on_cloud
from pipelines.vertex.preflight import preflight
from pix2seq_model.experiment import load_config
from tests.cloud.project import google, jobs
from tests.cloud.project.documented import blocks, commands
from tests.cloud.project.gcloud import WHO, Gcloud, Problem
from tests.cloud.project.permissions import Refused
from tests.cloud.project.programs import write_programs
from tests.cloud.project.state import VARIABLE, Project

_SECTION = "\n".join(
    block for section, block in blocks() if section == "1. A project" and "terraform" not in block
)
CALLS = commands("gcloud", _SECTION, {})
IMAGE = "europe-west4-docker.pkg.dev/my-project/pix2seq/pix2seq:1"
ACCOUNT = "pix2seq@my-project.iam.gserviceaccount.com"
OWNER, SOMEBODY = "me@example.com", "somebody@example.com"


class Cloud:
    """The project, and the two people's home folders."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._monkeypatch = folder, monkeypatch
        self.project = Project.make(
            folder / "project.json", name="my-project", owner=f"user:{OWNER}"
        )
        self._path = f"{write_programs(folder / 'bin')}:/usr/bin:/bin"
        monkeypatch.setenv("PATH", self._path)
        monkeypatch.setenv(VARIABLE, str(self.project.file))
        for person in (OWNER, SOMEBODY):
            self.sign_in_as(person)
            self.gcloud(person).run(["auth", "login"])
            self.gcloud(person).run(["config", "set", "project", "my-project"])

    def sign_in_as(self, person):
        """Whose commands run from now on."""
        self._monkeypatch.setenv(WHO, person)
        self._monkeypatch.setenv("HOME", str(self._home(person)))

    def _home(self, person) -> Path:
        home = self._folder / person
        home.mkdir(exist_ok=True)
        return home

    def gcloud(self, person):
        return Gcloud(self.project, self._home(person))

    def set_up(self, calls):
        """Runs the owner's commands; returns what those say that are refused."""
        self.sign_in_as(OWNER)
        refusals = []
        for call in calls:
            try:
                self.gcloud(OWNER).run(call)
            except (Problem, Refused) as refusal:
                refusals.append(str(refusal))
        labels = {CODE_LABEL: code_digest(), REQUIREMENTS_LABEL: requirements_digest()}
        with self.project.change() as content:
            content["pushed"][IMAGE] = {"labels": labels, "digest": "sha256:1"}
        return refusals

    def findings(self, person):
        self.sign_in_as(person)
        overrides = (f"cloud.service_account={ACCOUNT}",)
        request = Request(
            config=load_config("configs/coco_finetune.py:vit_b,640", overrides),
            config_name="configs/coco_finetune.py:vit_b,640",
            overrides=overrides,
            pipeline_root="gs://my-bucket/runs/coco_vit_b",
            beam_args=("--project=my-project", "--region=europe-west4", "--runner=DataflowRunner"),
        )
        request = on_cloud(request, image=IMAGE)
        return preflight(request, session=google.session(self.project, f"user:{person}"))

    def fix(self, command):
        """As the owner who was sent a command runs it, in a shell."""
        self.sign_in_as(OWNER)
        subprocess.run(["/bin/bash", "-euc", command], check=True)

    def refused_to_account(self):
        """What Google refuses to the jobs' account, of all that a run does."""
        me = f"serviceAccount:{ACCOUNT}"
        said = []
        for ask in (
            lambda: jobs.admit_pipeline_job(
                self.project,
                f"user:{OWNER}",
                account=ACCOUNT,
                root="gs://my-bucket/runs",
                quota_project="my-project",
            ),
            lambda: jobs.admit_custom_job(self.project, me, account=ACCOUNT, images=[IMAGE]),
            lambda: jobs.admit_dataflow_job(self.project, me, account=ACCOUNT),
        ):
            try:
                ask()
            except Refused as refusal:
                said.append(refusal.message)
        # TensorFlow looks for the bucket before it makes the first folder in it.
        url = f"https://{google.STORAGE}/storage/v1/b/my-bucket"
        status, body = google.answer(self.project, "GET", url, member=me)
        if status != 200:
            said.append(body["error"]["message"])
        why = jobs.why_workers_fail(self.project, account=ACCOUNT, image=IMAGE)
        return [*said, *([why] if why else [])]
