"""A Flink cluster of processes on this machine: a job manager, and task managers with a slot each.

Each task manager starts Python workers of its own, as processes. On a real cluster they come from
containers. A pool of workers that two task managers share would not do: both number their workers
from 1, so one that stops its worker would stop the other's.
"""

import collections
import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_ENTRY_POINTS = "org.apache.flink.runtime"
_JOB_MANAGER = f"{_ENTRY_POINTS}.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = f"{_ENTRY_POINTS}.taskexecutor.TaskManagerRunner"
# What a task manager starts, with a log of its own; Beam's boot program is for containers.
_WORKER = """\
import argparse, os
log = os.open(f"{__file__}_{os.getpid()}.log", os.O_CREAT | os.O_WRONLY)
os.dup2(log, 1)
os.dup2(log, 2)
import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness

parser = argparse.ArgumentParser()
parser.add_argument("--id")
parser.add_argument("--provision_endpoint")
given, _ = parser.parse_known_args()
with grpc.insecure_channel(given.provision_endpoint) as channel:
    service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
    request = beam_provision_api_pb2.GetProvisionInfoRequest()
    answer = service.GetProvisionInfo(request, metadata=[("worker_id", given.id)])
SdkHarness(answer.info.control_endpoint.url, worker_id=given.id).run()
"""
# Flink looks into these packages, which Java closes since version 17.
_OPENED = ("java.lang", "java.util", "java.time", "java.nio", "java.net")
_SECONDS_TO_START = 120
# Of a task manager, megabytes.
_MEMORY = {
    "framework.heap.size": 128,
    "framework.off-heap.size": 128,
    "task.heap.size": 384,
    "task.off-heap.size": 0,
    "managed.size": 512,
    "network.min": 128,
    "network.max": 128,
    "jvm-metaspace.size": 256,
    "jvm-overhead.min": 192,
    "jvm-overhead.max": 192,
}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@dataclasses.dataclass(frozen=True)
class FlinkCluster:
    """A cluster that runs.

    Attributes:
      beam_arguments: with which a Beam job is run on it.
      rest_address: of its job manager.
    """

    beam_arguments: Sequence[str]
    rest_address: str

    def ask(self, path: str) -> Any:
        """What the job manager answers. Raises OSError if it does not."""
        with urllib.request.urlopen(f"{self.rest_address}/{path}") as answer:
            return json.load(answer)

    def records_by_task_manager(self) -> dict[str, int]:
        """How many records each task manager's tasks read, over the cluster's finished jobs."""
        records: collections.Counter[str] = collections.Counter()
        for job in self.ask("jobs/overview")["jobs"]:
            for vertex in self.ask(f"jobs/{job['jid']}")["vertices"]:
                path = f"jobs/{job['jid']}/vertices/{vertex['id']}/taskmanagers"
                for manager in self.ask(path)["taskmanagers"]:
                    records[manager["taskmanager-id"]] += manager["metrics"]["read-records"]
        return dict(records)

    def num_task_managers(self) -> int:
        """Those that have come by now."""
        try:
            return len(self.ask("taskmanagers")["taskmanagers"])
        except OSError:
            return 0


def _configuration(folder: Path, *, rest_port: int) -> str:
    return "\n".join(
        [
            "jobmanager.rpc.address: localhost",
            f"jobmanager.rpc.port: {_free_port()}",
            "jobmanager.memory.process.size: 1024m",
            f"rest.port: {rest_port}",
            "rest.address: localhost",
            "taskmanager.host: localhost",
            "taskmanager.numberOfTaskSlots: 1",
            # All of them, as a distribution's scripts would work them out.
            "taskmanager.cpu.cores: 1",
            *(f"taskmanager.memory.{part}: {size}m" for part, size in _MEMORY.items()),
            # The job's jar brings Flink's own classes along, which are here already.
            "classloader.resolve-order: parent-first",
            f"io.tmp.dirs: {folder}",
            f"blob.storage.directory: {folder}",
        ]
    )


def _java(class_path: str, main_class: str, folder: Path, *, log: str) -> subprocess.Popen:
    opened = (f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED)
    main = ("-cp", class_path, main_class, "--configDir", str(folder))
    with (folder / log).open("wb") as output:
        return subprocess.Popen(
            ["java", "-Xmx512m", *opened, *main], stdout=output, stderr=subprocess.STDOUT
        )


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def flink_cluster(
    runner: Mapping[str, str], folder: Path, *, num_task_managers: int = 2
) -> Iterator[FlinkCluster]:
    """Runs a cluster.

    Args:
      runner: what `install_flink` found.
      folder: for the cluster's configuration and logs.
      num_task_managers: processes, each with one slot and Python workers of its own.

    Raises:
      RuntimeError: it does not start; says where its logs are.
    """
    job_server = Path(runner["path"])
    # Flink itself is among the job server's parts; in one file, it is all in it.
    parts = job_server.with_suffix("")
    class_path = f"{parts}/*" if parts.is_dir() else str(job_server)
    rest_port = _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    worker = folder / "worker"
    worker.write_text(f"#!{sys.executable}\n{_WORKER}")
    worker.chmod(0o755)
    (folder / "flink-conf.yaml").write_text(_configuration(folder, rest_port=rest_port))
    cluster = FlinkCluster(
        [
            "--runner=FlinkRunner",
            f"--flink_master=localhost:{rest_port}",
            f"--flink_version={runner['flink_version']}",
            f"--flink_job_server_jar={job_server}",
            "--environment_type=PROCESS",
            f"--environment_config={json.dumps({'command': str(worker.resolve())})}",
            f"--parallelism={num_task_managers}",
        ],
        f"http://localhost:{rest_port}",
    )
    managers = [_TASK_MANAGER] * num_task_managers
    processes = [
        _java(class_path, main_class, folder, log=f"{number}.log")
        for number, main_class in enumerate([_JOB_MANAGER, *managers])
    ]
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while cluster.num_task_managers() < num_task_managers:
            if time.monotonic() > deadline or any(p.poll() is not None for p in processes):
                raise RuntimeError(f"Flink's cluster did not start; its logs are in {folder}")
            time.sleep(0.5)
        yield cluster
    finally:
        _stop(processes[::-1])
