"""Vertex AI's service for training jobs, as far as TFX's Trainer asks it: make one, watch it.

The client is Google's own, by gRPC and TLS. A job's replicas run as processes of this machine,
with the very command that the job gives. What ends them early, and what starts them again, is as
documented:
https://cloud.google.com/vertex-ai/docs/training/understanding-training-service and
https://cloud.google.com/vertex-ai/docs/training/use-spot-vms
"""

import contextlib
import dataclasses
import datetime
import itertools
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path

import grpc
from google.cloud.aiplatform_v1.types import (
    CreateCustomJobRequest,
    CustomJob,
    GetCustomJobRequest,
    JobState,
    ListCustomJobsRequest,
    ListCustomJobsResponse,
    Scheduling,
)

_SERVICE = "google.cloud.aiplatform.v1.JobService"
# The names of Vertex AI's pools, in their order, in TF_CONFIG.
_TASKS = ("chief", "worker", "ps", "evaluator")
_LOOK_S = 0.02
_LONGEST = datetime.timedelta(days=7)  # Of a job that does not say how long.

Start = Callable[[list[str], Mapping[str, str], Path], subprocess.Popen]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How often Vertex AI starts something again.

    Attributes:
      worker: a replica that ended with an error, before the job counts as failed once.
      job: the whole job after that.
      spot: the job after its spot machines were taken away.
    """

    worker: int = 5
    job: int = 3
    spot: int = 6


@dataclasses.dataclass
class CustomJobs:
    """The service.

    Attributes:
      start: a process, of a command, variables besides the usual ones, and a file for what it says.
      logs: folder for what the processes say.
      limits: of starting again.
      port: on 127.0.0.1, once it is served.
      jobs: what was asked for, by name.
      commands: of each process that was started.
    """

    start: Start
    logs: Path
    limits: Limits = Limits()
    port: int = 0
    jobs: dict[str, CustomJob] = dataclasses.field(default_factory=dict)
    commands: list[list[str]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._running: dict[str, _Replicas] = {}
        self._threads: dict[str, threading.Thread] = {}

    def create(self, request: CreateCustomJobRequest) -> CustomJob:
        job = request.custom_job
        job.name = f"{request.parent}/customJobs/{len(self.jobs) + 1}"
        job.state = JobState.JOB_STATE_RUNNING
        job.create_time = datetime.datetime.now(datetime.UTC)
        self.jobs[job.name] = job
        self._running[job.name] = _Replicas(self, job)
        run = threading.Thread(target=self._running[job.name].run, daemon=True)
        self._threads[job.name] = run
        run.start()
        return job

    def list(self, request: ListCustomJobsRequest) -> ListCustomJobsResponse:
        found = [job for job in self.jobs.values() if fits(job, request.filter)]
        return ListCustomJobsResponse(custom_jobs=found)

    def cancel(self, name: str) -> None:
        """As by `gcloud ai custom-jobs cancel`."""
        self._running[name].end_by(JobState.JOB_STATE_CANCELLED)

    def take_away_machines(self, name: str) -> None:
        """Google needs a spot job's machines for somebody else.

        Raises:
          ValueError: its machines are no spot machines.
        """
        if self.jobs[name].job_spec.scheduling.strategy != Scheduling.Strategy.SPOT:
            raise ValueError(f"{name} has machines of its own")
        self._running[name].taken.set()

    def ended(self, name: str, *, timeout_s: float = 60.0) -> CustomJob:
        """Waits for a job's end."""
        self._threads[name].join(timeout_s)
        return self.jobs[name]


class _Replicas:
    """The processes of a job, until it has ended."""

    def __init__(self, service: CustomJobs, job: CustomJob) -> None:
        self._service, self._job = service, job
        self.taken = threading.Event()
        self.processes: list[subprocess.Popen] = []
        self._told: JobState | None = None
        self._starts = itertools.count()

    def end_by(self, state: JobState) -> None:
        self._told = state

    def run(self) -> None:
        scheduling, limits = self._job.job_spec.scheduling, self._service.limits
        deadline = time.monotonic() + (scheduling.timeout or _LONGEST).total_seconds()
        replicas = replicas_of(self._job)
        processes = self.processes = [self._start(replica) for replica in replicas]
        again, jobs, spot = [0] * len(replicas), 0, 0

        def start_all() -> None:
            for process in processes:
                _kill(process)
            processes[:] = [self._start(replica) for replica in replicas]

        while self._told is None:
            if time.monotonic() > deadline:
                self._told = JobState.JOB_STATE_EXPIRED
            elif self.taken.is_set():
                self.taken.clear()
                spot += 1
                if spot > limits.spot:
                    self._fail("the spot machines were taken away too often")
                else:
                    start_all()
            elif failed := [i for i, process in enumerate(processes) if process.poll()]:
                (first, *_) = failed
                again[first] += 1
                if again[first] <= limits.worker:
                    if scheduling.restart_job_on_worker_restart:
                        start_all()
                    else:
                        processes[first] = self._start(replicas[first])
                elif jobs < limits.job:
                    jobs, again = jobs + 1, [0] * len(replicas)
                    start_all()
                else:
                    self._fail(f"The replica {first} exited with a non-zero status")
            elif all(process.poll() == 0 for process in processes):
                self._told = JobState.JOB_STATE_SUCCEEDED
            else:
                time.sleep(_LOOK_S)
        for process in processes:
            _kill(process)
        self._job.state = self._told

    def _fail(self, message: str) -> None:
        self._job.error = {"code": 3, "message": message}
        self._told = JobState.JOB_STATE_FAILED

    def _start(self, replica: tuple[list[str], dict[str, str]]) -> subprocess.Popen:
        command, variables = replica
        self._service.commands.append(command)
        name = f"{self._job.display_name}-{self._job.name.rsplit('/', 1)[-1]}"
        log = self._service.logs / f"{name}-{next(self._starts)}.log"
        return self._service.start(command, variables, log)


def _kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


@contextlib.contextmanager
def custom_jobs(
    start: Start,
    *,
    certificate: Path,
    logs: Path,
    limits: Limits = Limits(),
) -> Iterator[CustomJobs]:
    """Serves custom jobs; see `CustomJobs`.

    Args:
      start, logs, limits: as there.
      certificate: key and certificate of the address that the client believes to speak to.
    """
    state = CustomJobs(start, logs, limits)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([handlers(state)])
    state.port = server.add_secure_port("127.0.0.1:0", server_credentials(certificate))
    server.start()
    try:
        yield state
    finally:
        server.stop(0).wait()


def handlers(
    state: CustomJobs,
    admit: Callable[[CreateCustomJobRequest, grpc.ServicerContext], None] = lambda *_: None,
) -> grpc.GenericRpcHandler:
    """The methods of the service, for a gRPC server.

    Args:
      state: the service.
      admit: looks at a job before it is made, and ends the call where it is refused.
    """

    def create(request: CreateCustomJobRequest, context: grpc.ServicerContext) -> CustomJob:
        admit(request, context)
        return state.create(request)

    def get(request: GetCustomJobRequest, context: grpc.ServicerContext) -> CustomJob:
        if request.name not in state.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.name}")
        return state.jobs[request.name]

    methods = {
        "CreateCustomJob": handler(create, CreateCustomJobRequest, CustomJob),
        "GetCustomJob": handler(get, GetCustomJobRequest, CustomJob),
        "ListCustomJobs": handler(
            lambda request, _: state.list(request), ListCustomJobsRequest, ListCustomJobsResponse
        ),
    }
    return grpc.method_handlers_generic_handler(_SERVICE, methods)


def server_credentials(certificate: Path) -> grpc.ServerCredentials:
    """Of a file with a key and a certificate behind it."""
    key, marker, rest = certificate.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    return grpc.ssl_server_credentials([(key, marker + rest)])


def replicas_of(job: CustomJob) -> list[tuple[list[str], dict[str, str]]]:
    """The command and the variables of every replica of a job, the chief first."""
    pools = job.job_spec.worker_pool_specs
    addresses = {
        task: [f"127.0.0.1:{_free_port()}" for _ in range(pool.replica_count)]
        for task, pool in zip(_TASKS, pools)
    }
    replicas = []
    for task, pool in zip(_TASKS, pools):
        for index in range(pool.replica_count):
            spec = pool.container_spec
            variables = {entry.name: entry.value for entry in spec.env}
            if sum(map(len, addresses.values())) > 1:
                cluster = {"cluster": addresses, "task": {"type": task, "index": index}}
                variables["TF_CONFIG"] = json.dumps(cluster)
            replicas.append(([*spec.command, *spec.args], variables))
    return replicas


_QUERY = re.compile(r"labels\.(?P<label>[a-z0-9_-]+)=(?P<value>[a-z0-9_-]+) AND \((?P<rest>.*)\)")


def fits(job: CustomJob, query: str) -> bool:
    """Whether a list by this filter has the job.

    Raises:
      ValueError: a filter that is not known here.
    """
    found = _QUERY.fullmatch(query)
    states = [
        re.fullmatch(r'state="(\w+)"', s) for s in (found["rest"] if found else "").split(" OR ")
    ]
    if not found or not all(states):
        raise ValueError(f"a filter that is not known here: {query}")
    has_label = job.labels.get(found["label"]) == found["value"]
    return has_label and JobState(job.state) in [JobState[state[1]] for state in states]


def handler(answer: Callable, request: type, answered: type) -> grpc.RpcMethodHandler:
    """A method of a gRPC service, of the types of its messages."""
    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.deserialize, response_serializer=answered.serialize
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
