"""Jobs that fail, expire, lose their machines or their launcher, as Vertex AI documents it."""

import json
import subprocess
import time
from types import SimpleNamespace

import pytest
from google.cloud.aiplatform_v1.types import (
    CreateCustomJobRequest,
    CustomJob,
    ListCustomJobsRequest,
    Scheduling,
)
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.extensions.google_cloud_ai_platform import training_clients
from tfx.types import standard_artifacts

from components import custom_job_trainer
from pix2seq_model.errors import UserError
from tests.cloud.vertex_executor.custom_jobs import CustomJobs

PARENT = "projects/p/locations/europe-west4"
# Notes each start; ends with the status that its file says, once it is there.
SCRIPT = 'echo started >> "$0"; while [ ! -s "$1" ]; do sleep 0.05; done; exit "$(cat "$1")"'


class Bench:
    def __init__(self, folder):
        self.folder = folder
        self.service = CustomJobs(self._start, folder)

    @staticmethod
    def _start(command, variables, log):
        return subprocess.Popen(command, env=dict(variables), stderr=log.open("w"))

    def job(self, *, replicas=1, ends=None, **scheduling):
        """The name of a job whose replicas end with a status, or run until they are stopped."""
        if ends is not None:
            (self.folder / "status").write_text(str(ends))
        command = ["sh", "-c", SCRIPT, str(self.folder / "starts"), str(self.folder / "status")]
        pools = [{"replica_count": 1, "container_spec": {"command": command}}]
        pools += [{**pools[0], "replica_count": replicas - 1}] if replicas > 1 else []
        spec = {"worker_pool_specs": pools, "scheduling": scheduling}
        job = CustomJob(display_name="train", job_spec=spec)
        request = CreateCustomJobRequest(parent=PARENT, custom_job=job)
        return self.service.create(request).name

    def state(self, name):
        return self.service.ended(name).state.name.removeprefix("JOB_STATE_")

    @property
    def starts(self):
        file = self.folder / "starts"
        return len(file.read_text().split()) if file.exists() else 0

    def until(self, starts):
        deadline = time.monotonic() + 120
        while self.starts < starts:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_replicas_that_succeed(bench):
    assert bench.state(bench.job(ends=0, replicas=3)) == "SUCCEEDED"
    assert bench.starts == 3


def test_a_replica_is_started_again_five_times_and_then_the_job_three_times(bench):
    name = bench.job(ends=1)
    assert bench.state(name) == "FAILED"
    assert "non-zero" in bench.service.jobs[name].error.message
    assert bench.starts == 6 * 4


def test_a_replica_that_recovers(bench, tmp_path):
    name = bench.job(ends=1)
    bench.until(3)
    (tmp_path / "status").write_text("0")
    assert bench.state(name) == "SUCCEEDED"


@pytest.mark.parametrize(("together", "starts"), [(True, 6), (False, 4)])
def test_all_start_again_with_the_one_that_did(together, starts, tmp_path):
    """What `cloud.training.restart` asks for: workers that train together find each other again."""
    bench = Bench(tmp_path)
    name = bench.job(replicas=3, restart_job_on_worker_restart=together)
    bench.until(3)
    _a_process(bench, name).kill()
    bench.until(starts)
    bench.service.cancel(name)
    assert bench.state(name) == "CANCELLED"
    assert bench.starts == starts


def test_a_job_that_takes_longer_than_allowed_expires(bench):
    assert bench.state(bench.job(timeout={"seconds": 1})) == "EXPIRED"


def test_spot_machines_are_given_six_times_more(bench):
    name = bench.job(strategy=Scheduling.Strategy.SPOT)
    for number in range(1, 8):
        bench.until(number)
        assert bench.service.jobs[name].state.name == "JOB_STATE_RUNNING"
        bench.service.take_away_machines(name)
    assert bench.state(name) == "FAILED"
    assert bench.starts == 7
    assert "taken away too often" in bench.service.jobs[name].error.message


def test_other_machines_are_not_taken_away(bench):
    name = bench.job()
    with pytest.raises(ValueError, match="machines of its own"):
        bench.service.take_away_machines(name)
    bench.service.cancel(name)
    assert bench.state(name) == "CANCELLED"


def _a_process(bench, name):
    """A replica that runs: its process notes its start before the service has it in hand."""
    deadline = time.monotonic() + 120
    while not (processes := bench.service._running[name].processes):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return processes[0]


class Killed(BaseException):
    """The step's process is gone."""


@pytest.fixture
def launch(bench, monkeypatch, tmp_path):
    """Runs the training step, whose job's processes are those of `Bench`."""

    def client(*, client_options):
        def create(*, parent, custom_job):
            job = CustomJob(custom_job)
            for pool in job.job_spec.worker_pool_specs:
                starts, status = tmp_path / "starts", tmp_path / "status"
                pool.container_spec.command = ["sh", "-c", SCRIPT, str(starts), str(status)]
                pool.container_spec.args = []
            return bench.service.create(CreateCustomJobRequest(parent=parent, custom_job=job))

        return SimpleNamespace(
            create_custom_job=create,
            get_custom_job=lambda *, name, retry: bench.service.jobs[name],
            list_custom_jobs=lambda request: (
                bench.service.list(ListCustomJobsRequest(request)).custom_jobs
            ),
        )

    monkeypatch.setattr(training_clients.gapic, "JobServiceClient", client)

    def launch(attempt, *, sleep=lambda _: time.sleep(0.02), **scheduling):
        monkeypatch.setattr(custom_job_trainer, "time", SimpleNamespace(sleep=sleep))
        outputs = {"model": [standard_artifacts.Model()], "model_run": [standard_artifacts.Model()]}
        for key, (artifact,) in outputs.items():
            artifact.uri = str(tmp_path / "run-1" / f"Finetune_{attempt}" / key)
        pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}
        job = {
            "worker_pool_specs": [{**pool, "container_spec": {"image_uri": "i"}}],
            "scheduling": scheduling,
        }
        config = {
            "work_dir": "gs://b/training/finetune-1",
            "overrides": [],
            "ai_platform_vertex_region": "europe-west4",
            "ai_platform_training_args": {
                "project": "p",
                "display_name": "train",
                "labels": {},
                "job_spec": job,
            },
        }
        context = BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id=f"Finetune_{attempt}")
        properties = {"custom_config": json.dumps(config), "overrides": ""}
        custom_job_trainer.Executor(context).Do({}, outputs, properties)

    return launch


def test_a_launcher_that_was_killed_is_followed_by_the_next_one(bench, launch, tmp_path):
    def killed(_):
        raise Killed

    with pytest.raises(Killed):
        launch(1, sleep=killed)
    bench.until(1)
    (name,) = bench.service.jobs

    def ends_meanwhile(_):
        (tmp_path / "run-1" / "Finetune_2" / "model").mkdir(parents=True, exist_ok=True)
        (tmp_path / "run-1" / "Finetune_2" / "model" / "model.json").write_text("{}")
        (tmp_path / "status").write_text("0")
        time.sleep(0.05)

    launch(2, sleep=ends_meanwhile)
    assert list(bench.service.jobs) == [name]
    assert bench.state(name) == "SUCCEEDED"


def test_a_job_that_expired_is_not_paid_for_again(bench, launch):
    for attempt in (1, 2):
        with pytest.raises(UserError, match=r"(?s)ended as EXPIRED.*max_days"):
            launch(attempt, timeout={"seconds": 1})
    assert len(bench.service.jobs) == 1


def test_a_job_whose_spot_machines_were_taken_too_often_is_followed_by_another(bench, launch):
    def taken(_):
        for name, job in bench.service.jobs.items():
            if job.state.name == "JOB_STATE_RUNNING":
                bench.service.take_away_machines(name)
        time.sleep(0.05)

    with pytest.raises(RuntimeError, match=r"ended as FAILED: .*taken away too often"):
        launch(1, sleep=taken, strategy="SPOT")
    (bench.folder / "status").write_text("0")
    launch(2, strategy="SPOT")
    assert len(bench.service.jobs) == 2
