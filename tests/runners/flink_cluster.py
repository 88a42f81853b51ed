"""A Flink cluster on this machine: a job manager and two task managers, each its own process.

    python -m tests.runners.flink_cluster --jar=build/runners/flink-...-job-server-....jar

runs one until it is interrupted. The parts of Beam's Flink job server hold all of Flink that it
takes.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_ENTRY_POINTS = "org.apache.flink.runtime.entrypoint", "org.apache.flink.runtime.taskexecutor"
_OPENED = ("java.lang", "java.util", "java.time", "java.net", "java.util.concurrent", "java.nio")
_SECONDS_TO_START = 300
TASK_MANAGERS = 2
# Flink's own scripts work these out from a process's size; started without them, all are needed.
_MEMORY = {
    "jobmanager.memory.heap.size": "384m",
    "taskmanager.cpu.cores": "1",
    "taskmanager.memory.framework.heap.size": "64m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.task.heap.size": "384m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
}


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def _write_settings(folder: Path, settings: dict[str, str]) -> None:
    folder.mkdir()
    lines = [f"{name}: {value}\n" for name, value in settings.items()]
    (folder / "flink-conf.yaml").write_text("".join(lines))


def _task_managers(address: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{address}/taskmanagers", timeout=5) as answer:
            return len(json.load(answer)["taskmanagers"])
    except OSError:
        return 0


@contextlib.contextmanager
def flink_cluster(job_server_jar: Path) -> Iterator[str]:
    """Runs a cluster inside a `with` block; gives the address for `--flink_master`.

    Args:
      job_server_jar: As `install.py` assembled it, its parts in the folder of the same name.
    """
    parts = job_server_jar.with_suffix("")
    address = f"localhost:{_free_port()}"
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        settings = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": str(_free_port()),
            "rest.address": "localhost",
            "rest.port": address.partition(":")[2],
            "taskmanager.numberOfTaskSlots": "1",
            "taskmanager.host": "localhost",
            # A user's jar would come with the job; here everything is in the cluster already.
            "classloader.resolve-order": "parent-first",
            "io.tmp.dirs": str(folder),
            **_MEMORY,
        }
        _write_settings(folder / "conf", settings)
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        programs = [f"{_ENTRY_POINTS[0]}.StandaloneSessionClusterEntrypoint"]
        programs += [f"{_ENTRY_POINTS[1]}.TaskManagerRunner"] * TASK_MANAGERS
        logs = []
        for number, program in enumerate(programs):
            logs.append(folder / f"{number}.log")
            log = running.enter_context(logs[-1].open("w"))
            process = subprocess.Popen(
                [
                    *("java", "-Xmx512m", *opened, "-cp", f"{parts}/*", program),
                    *("--configDir", str(folder / "conf")),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            running.callback(process.wait)
            running.callback(process.kill)
        end = time.monotonic() + _SECONDS_TO_START
        while _task_managers(address) < TASK_MANAGERS:
            if time.monotonic() > end:
                said = "\n".join(log.read_text()[:3000] for log in logs)
                raise TimeoutError(f"no Flink cluster at {address}:\n{said}")
            time.sleep(1)
        yield address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jar", type=Path, required=True)
    with flink_cluster(parser.parse_args().jar.resolve()) as address:
        print(f"--flink_master={address}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(60)


if __name__ == "__main__":
    main()
