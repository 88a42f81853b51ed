"""The step that trains by a custom job, against a stand-in for Google's client of such jobs."""

import datetime
import json

import pytest
from google.api_core.exceptions import NotFound, PermissionDenied, Unknown
from google.cloud.aiplatform_v1.types import CustomJob, JobState, ListCustomJobsRequest
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.extensions.google_cloud_ai_platform import training_clients
from tfx.types import standard_artifacts

from components import custom_job_trainer
from components.trainer import Executor as Training
from pix2seq_model.data.manifest import DatasetInfo
from pix2seq_model.errors import ConfigError, UserError
from pix2seq_model.model_folder.folder import MODEL_FILE
from tests.cloud.vertex_executor.custom_jobs import fits
from tests.fixtures.records import write_dataset_info

CATEGORIES = ({"id": 1, "name": "a"},)
RUNNING, SUCCEEDED, FAILED = (
    getattr(JobState, f"JOB_STATE_{name}") for name in ("RUNNING", "SUCCEEDED", "FAILED")
)


class Killed(BaseException):
    """The step's process is gone."""


class Service:
    """Keeps jobs as Vertex AI does.

    Attributes:
      jobs: by name.
      coming: what the next questions for a job find: its state, an error, or something to do.
    """

    def __init__(self):
        self.jobs, self.coming = {}, [SUCCEEDED]

    def __call__(self, *, client_options):
        assert client_options == {"api_endpoint": "europe-west4-aiplatform.googleapis.com"}
        return self

    def create_custom_job(self, *, parent, custom_job):
        job = CustomJob(custom_job)
        job.name = f"{parent}/customJobs/{len(self.jobs) + 1}"
        job.state = RUNNING
        job.create_time = datetime.datetime(2026, 1, 1 + len(self.jobs), tzinfo=datetime.UTC)
        self.jobs[job.name] = job
        return job

    def list_custom_jobs(self, request):
        request = ListCustomJobsRequest(request)
        assert request.parent == "projects/p/locations/europe-west4"
        return [job for job in self.jobs.values() if fits(job, request.filter)]

    def get_custom_job(self, *, name, retry):
        found = self.coming.pop(0) if len(self.coming) > 1 else self.coming[0]
        if callable(found):
            found = found(self.jobs[name])
        if isinstance(found, BaseException):
            raise found
        self.jobs[name].state = found
        return self.jobs[name]


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setattr(training_clients.gapic, "JobServiceClient", service)
    monkeypatch.setattr(custom_job_trainer.time, "sleep", lambda seconds: None)
    return service


@pytest.fixture
def attempt(tmp_path):
    """Runs the step once more, as Vertex AI does: with folders of its own in the run's."""
    number = iter(range(1, 9))

    def attempt(
        run="run-1",
        work_dir="gs://b/training/finetune-1",
        *,
        written=False,
        records="some",
        **of_job,
    ):
        name = f"Finetune_{next(number)}"
        outputs = {"model": [standard_artifacts.Model()], "model_run": [standard_artifacts.Model()]}
        for key, (artifact,) in outputs.items():
            artifact.uri = str(tmp_path / run / name / key)
        if written:
            (tmp_path / run / name / "model").mkdir(parents=True)
            (tmp_path / run / name / "model" / MODEL_FILE).write_text("{}")
        spec = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}
        pools = [{**spec, "container_spec": {"image_uri": "i"}}]
        config = {
            "work_dir": work_dir,
            "overrides": [],
            "ai_platform_vertex_region": "europe-west4",
            "ai_platform_training_args": {
                "project": "p",
                "display_name": "pix2seq-finetune",
                "labels": {"team": "vision"},
                "job_spec": {"worker_pool_specs": pools, **of_job},
            },
        }
        context = BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id=name)
        properties = {"custom_config": json.dumps(config), "overrides": ""}
        examples = standard_artifacts.Examples()
        examples.uri = str(tmp_path / run / name / "examples")
        info = DatasetInfo(name=records, seed=0, categories=CATEGORIES, splits={})
        write_dataset_info(examples.uri, info)
        custom_job_trainer.Executor(context).Do({"examples": [examples]}, outputs, properties)

    return attempt


def told(job):
    """The execution properties that a job's process is given."""
    command = list(job.job_spec.worker_pool_specs[0].container_spec.command)
    assert command[command.index("--executor_class_path") + 1] == "components.trainer.Executor"
    return json.loads(command[command.index("--exec-properties") + 1])


def test_a_job_is_started_and_followed_to_its_end(service, attempt):
    service.coming = [RUNNING, Unknown("stream removed"), RUNNING, SUCCEEDED]
    attempt()
    (job,) = service.jobs.values()
    assert job.display_name == "pix2seq-finetune"
    assert job.labels["team"] == "vision"
    command = list(job.job_spec.worker_pool_specs[0].container_spec.command)
    assert command[:4] == ["python", "-m", "components.cloud_log", "tfx.scripts.run_executor"]
    assert job.state == SUCCEEDED
    attempt(work_dir="gs://b/training/other")
    works = {job.labels[custom_job_trainer.WORK_LABEL] for job in service.jobs.values()}
    assert len(works) == 2


def test_other_records_are_another_work_in_another_folder(service, attempt):
    for records in ("some", "some", "changed"):
        attempt(records=records)
    jobs = service.jobs.values()
    folders = [json.loads(told(job)["custom_config"])["work_dir"] for job in jobs]
    works = [job.labels[custom_job_trainer.WORK_LABEL] for job in jobs]
    for found in (folders, works):
        assert found[0] == found[1] != found[2]
    assert all(folder.startswith("gs://b/training/finetune-1-") for folder in folders)


def test_a_tensorboard_reads_the_logs_below_the_artifact(service, attempt, tmp_path):
    board = "projects/p/locations/europe-west4/tensorboards/7"
    attempt(tensorboard=board, service_account="s@p.iam")
    (job,) = service.jobs.values()
    assert job.job_spec.tensorboard == board
    folder = job.job_spec.base_output_directory.output_uri_prefix
    assert folder == str(tmp_path / "run-1" / "Finetune_1" / "model_run")
    attempt(work_dir="gs://b/training/other")
    assert not list(service.jobs.values())[-1].job_spec.base_output_directory


def test_a_launcher_that_died_leaves_a_job_that_the_next_one_follows(service, attempt):
    service.coming = [RUNNING, Killed()]
    with pytest.raises(Killed):
        attempt()
    service.coming = [RUNNING, SUCCEEDED]
    attempt(written=True)
    assert len(service.jobs) == 1


def test_the_model_of_a_job_that_was_followed_is_written_where_it_is_asked_for(service, attempt):
    service.coming = [RUNNING, Killed()]
    with pytest.raises(Killed):
        attempt()

    def once_the_first_has_ended(job):
        others = [other for other in service.jobs.values() if other is not job]
        assert all(other.state == SUCCEEDED for other in others)
        return SUCCEEDED

    service.coming = [RUNNING, SUCCEEDED, once_the_first_has_ended]
    attempt()
    assert len(service.jobs) == 2


@pytest.mark.parametrize("state", ["FAILED", "PARTIALLY_SUCCEEDED", "PAUSED"])
def test_a_job_that_failed_is_tried_again_by_the_next_attempt(state, service, attempt):
    service.coming = [getattr(JobState, f"JOB_STATE_{state}")]
    with pytest.raises(RuntimeError, match=f"customJobs/1 ended as {state}"):
        attempt()
    service.coming = [SUCCEEDED]
    attempt()
    assert len(service.jobs) == 2


@pytest.mark.parametrize(("state", "fix"), [("EXPIRED", "max_days"), ("CANCELLED", "by itself")])
def test_one_that_ran_out_of_time_or_was_stopped_is_not(state, fix, service, attempt):
    service.coming = [getattr(JobState, f"JOB_STATE_{state}")]
    for _ in range(2):
        with pytest.raises(UserError, match=f"(?s)ended as {state}.*{fix}"):
            attempt()
    assert len(service.jobs) == 1
    service.coming = [SUCCEEDED]
    attempt(run="run-2")
    assert len(service.jobs) == 2


def test_what_cannot_work_is_paid_for_once(service, attempt, monkeypatch):
    def train(job):
        def refuse(*_):
            raise ConfigError("finetune.batch_size=33 cannot be shared")

        # As the job's process does.
        monkeypatch.setattr(Training.__base__, "Do", refuse)
        with pytest.raises(ConfigError):
            Training().Do({}, {}, told(job))
        return FAILED

    service.coming = [train]
    for _ in range(3):
        with pytest.raises(UserError, match="batch_size=33 cannot be shared"):
            attempt()
    assert len(service.jobs) == 1


def test_a_state_that_is_never_said_and_a_refusal_end_the_step(service, attempt):
    service.coming = [JobState.JOB_STATE_UNSPECIFIED]
    with pytest.raises(RuntimeError, match="does not say the state"):
        attempt()
    for refusal in (PermissionDenied("aiplatform.customJobs.get"), NotFound("deleted")):
        service.jobs.clear()
        service.coming = [refusal]
        with pytest.raises(type(refusal)):
            attempt()
