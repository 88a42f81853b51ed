"""Runs a recorded pipeline by Prism, with Beam's workers in an environment of their own.

Two such environments: the file system that the Dockerfile's steps make, started by its entry point;
and, where that cannot be made, the image's packages in a virtual environment with the image's code.
Both are started as Dataflow starts its workers, by Beam's own boot program, and share nothing with
the launcher's environment.
"""

import importlib.util
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_job_api_pb2 as job_api
from apache_beam.portability.api import beam_job_api_pb2_grpc as job_grpc
from apache_beam.portability.api import beam_runner_api_pb2 as api
from google.protobuf.struct_pb2 import Struct

from pipelines.image_identity import build_arguments
from tests.cloud.image.bases import NotHere, build_boot
from tests.cloud.image.build import build
from tests.cloud.image.dockerfile import instructions
from tests.runners.install import install_prism

PROJECT = Path(__file__).resolve().parents[3]
BUILD = PROJECT / "build"
_DOCKERFILE = (PROJECT / "Dockerfile").read_text()
_BEAM = next(line for line in _DOCKERFILE.splitlines() if line.startswith("ARG BEAM_VERSION="))
BEAM_VERSION = _BEAM.partition("=")[2]


def image_worker(folder: Path) -> Path:
    """A program that starts a worker in the image's file system; `folder` is shared with it."""
    image = build(_DOCKERFILE, BUILD / "image", build_args=build_arguments())
    # The entry point alone: the runner adds the options.
    command = image.command(
        changes=folder / "container", shared={folder: str(folder)}, with_cmd=False
    )
    return _program(folder / "start_image", shlex.join(command))


def packages_worker(
    folder: Path, *, without: str = "", variables: Mapping[str, str] | None = None
) -> Path:
    """A program that starts a worker with the image's packages and code, less one folder of it.

    Args:
      folder: for the code and the program.
      without: the folder of the code that is left out.
      variables: besides those of the image.
    """
    boot = build_boot(BUILD / "cloud", BEAM_VERSION)
    python = _packages(BUILD / "cloud" / "worker_env")
    code = folder / "code"
    for step in instructions(_DOCKERFILE):
        if step.keyword == "COPY" and not step.flags and step.document is None:
            source, *_, target = step.value.split()
            if (PROJECT / source).is_dir() and source == target and source.strip("/") != without:
                leave_out = shutil.ignore_patterns("__pycache__")
                shutil.copytree(PROJECT / source, code / target, ignore=leave_out)
    environment = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "PYTHONPATH": str(code),
        "HOME": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1",
        **(variables or {}),
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    command = ["env", "-i", *settings, str(boot), f"--semi_persist_dir={folder}"]
    return _program(folder / "start_packages", f"cd {folder}; exec {shlex.join(command)}")


def _packages(folder: Path) -> Path:
    """Its Python; the environment holds what the Dockerfile installs and this project not."""
    python = folder / "bin" / "python"
    finished = folder / ".finished"
    wanted = [PROJECT / "requirements" / f"{name}.txt" for name in ("runtime", "jax")]
    content = b"".join(path.read_bytes() for path in wanted)
    if finished.exists() and finished.read_bytes() == content:
        return python
    spec = importlib.util.spec_from_file_location(
        "install", PROJECT / "requirements" / "install.py"
    )
    installer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installer)
    shutil.rmtree(folder, ignore_errors=True)
    installer.install(installer.make_venv(folder), wanted)
    finished.write_bytes(content)
    return python


# Prism puts the worker's id between quotes, as for a shell, and starts the process without one.
_UNQUOTE = """for argument; do
  shift
  set -- "$@" "$(printf %s "$argument" | tr -d "'")"
done
"""


def _program(path: Path, command: str) -> Path:
    path.write_text(f'#!/bin/sh\n{_UNQUOTE}{command} "$@"\n')
    path.chmod(0o755)
    return path


@contextmanager
def prism(log: Path) -> Iterator[str]:
    """Starts Prism; yields the address of its job service.

    Raises:
      NotHere: Prism is not available.
    """
    output = BUILD / "runners"
    output.mkdir(parents=True, exist_ok=True)
    found = install_prism(output, BEAM_VERSION)
    if "missing" in found:
        raise NotHere(f"Prism is not available: {found['missing']}")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    arguments = [found["path"], f"--job_port={port}", "--serve_http=false"]
    with log.open("w") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=file)
    try:
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def run_recorded(pipeline: bytes, *, worker: Path, address: str, timeout_s: float) -> bool:
    """Runs a recorded pipeline proto; its containers become processes that `worker` starts.

    Args:
      pipeline: the proto that was submitted to Dataflow.
      worker: a program that takes the options of a worker.
      address: of Prism.
      timeout_s: for the whole job.

    Returns:
      Whether the job ended well.
    """
    graph = api.Pipeline.FromString(pipeline)
    for environment in graph.components.environments.values():
        assert environment.urn == common_urns.environments.DOCKER.urn
        environment.urn = common_urns.environments.PROCESS.urn
        payload = api.ProcessPayload(command=str(worker))
        environment.payload = payload.SerializeToString()
    options = Struct()
    # What Dataflow tells its workers of the job; none of it is needed by the code in it.
    options["beam:option:job_name:v1"] = "recorded"
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        service = job_grpc.JobServiceStub(channel)
        prepared = service.Prepare(
            job_api.PrepareJobRequest(job_name="recorded", pipeline=graph, pipeline_options=options)
        )
        started = service.Run(job_api.RunJobRequest(preparation_id=prepared.preparation_id))
        request = job_api.GetJobStateRequest(job_id=started.job_id)
        for event in service.GetStateStream(request, timeout=timeout_s):
            if event.state in (job_api.JobState.DONE, job_api.JobState.FAILED):
                return event.state == job_api.JobState.DONE
    return False
