"""Vertex AI's service for training jobs, as far as TFX's Trainer asks it: make one, watch it.

The client is Google's own, by gRPC and TLS. A job's replicas run as processes of this machine,
with the very command that the job gives.
"""

import contextlib
import dataclasses
import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.cloud.aiplatform_v1.types import (
    CreateCustomJobRequest,
    CustomJob,
    GetCustomJobRequest,
    JobState,
    ListCustomJobsRequest,
    ListCustomJobsResponse,
)

_SERVICE = "google.cloud.aiplatform.v1.JobService"
# The names of Vertex AI's pools, in their order, in TF_CONFIG.
_TASKS = ("chief", "worker", "ps", "evaluator")


@dataclasses.dataclass
class CustomJobs:
    """A running service.

    Attributes:
      port: on 127.0.0.1.
      jobs: what was asked for, by name.
      commands: of each process that was started.
    """

    port: int = 0
    jobs: dict[str, CustomJob] = dataclasses.field(default_factory=dict)
    commands: list[list[str]] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def custom_jobs(
    start: Callable[[list[str], Mapping[str, str], Path], subprocess.Popen],
    *,
    certificate: Path,
    logs: Path,
) -> Iterator[CustomJobs]:
    """Starts the service.

    Args:
      start: a process, of a command, variables besides the usual ones, and a file for what it says.
      certificate: key and certificate of the address that the client believes to speak to.
      logs: folder for what the processes say.
    """
    state = CustomJobs()

    def create(request: CreateCustomJobRequest, _: Any) -> CustomJob:
        job = request.custom_job
        job.name = f"{request.parent}/customJobs/{len(state.jobs) + 1}"
        job.state = JobState.JOB_STATE_RUNNING
        state.jobs[job.name] = job
        threading.Thread(target=run, args=(job,), daemon=True).start()
        return job

    def run(job: CustomJob) -> None:
        replicas = []
        log = logs / f"{job.display_name}-{job.name.rsplit('/', 1)[-1]}"
        for number, (command, variables) in enumerate(replicas_of(job)):
            state.commands.append(command)
            replicas.append(start(command, variables, Path(f"{log}-{number}.log")))
        failed = any(process.wait() for process in replicas)
        job.state = JobState.JOB_STATE_FAILED if failed else JobState.JOB_STATE_SUCCEEDED

    def get(request: GetCustomJobRequest, context: grpc.ServicerContext) -> CustomJob:
        if request.name not in state.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.name}")
        return state.jobs[request.name]

    def list_jobs(request: ListCustomJobsRequest, _: Any) -> ListCustomJobsResponse:
        found = [job for job in state.jobs.values() if fits(job, request.filter)]
        return ListCustomJobsResponse(custom_jobs=found)

    handlers = {
        "CreateCustomJob": _handler(create, CreateCustomJobRequest),
        "GetCustomJob": _handler(get, GetCustomJobRequest),
        "ListCustomJobs": _handler(list_jobs, ListCustomJobsRequest, ListCustomJobsResponse),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
    key, marker, rest = certificate.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    credentials = grpc.ssl_server_credentials([(key, marker + rest)])
    state.port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield state
    finally:
        server.stop(0).wait()


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


def _handler(answer: Callable, request: type, answered: type = CustomJob) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.deserialize, response_serializer=answered.serialize
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
