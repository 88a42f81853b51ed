"""Vertex AI on this machine: the executor, its bucket, and the service for training jobs."""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.cloud.object_store.emulator import BUCKET, Emulator, emulator
from tests.cloud.vertex_executor.custom_jobs import CustomJobs, Limits, custom_jobs
from tests.cloud.vertex_executor.executor import Executor
from tests.cloud.vertex_executor.metadata import MetadataStore

PROJECT_ROOT = Path(__file__).resolve().parents[3]
REGION = "europe-west4"
_COPIED = re.compile(r"^COPY (\w+)/ \1/$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Vertex:
    """All that a run in the cloud meets.

    Attributes:
      bucket: the object store.
      executor: of job files.
      trainings: the service for custom jobs.
      image: folder with what the container image holds of this project.
      logs: folder; what each process said.
    """

    bucket: Emulator
    executor: Executor
    trainings: CustomJobs
    image: Path
    logs: Path

    def compile(self, *arguments: str) -> Path:
        """Compiles a job with the project's own command; returns the job file."""
        job_file = self.image.parent / "job.json"
        subprocess.run(
            [
                *(sys.executable, "pipelines/run_pipeline.py", "--orchestrator=vertex"),
                *(f"--job_file={job_file}", "--image=an/image:1", "--project=project"),
                *(f"--region={REGION}", "--runner=DirectRunner"),
                *("--direct_num_workers=1", "--direct_running_mode=in_memory"),
                *arguments,
                # These steps run here, as in the local run that they are compared with, and jobs
                # that ask for GPUs refuse this machine.
                "--config.cloud.training.preset=none",
                "--config.cloud.training.accelerator_count=0",
                "--config.cloud.evaluation.accelerator_count=0",
            ],
            cwd=self.image,
            env=variables_of(self.image, {}),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return job_file


@contextlib.contextmanager
def vertex(folder: Path, *, configs: Mapping[str, str] | None = None) -> Iterator[Vertex]:
    """Starts everything.

    Args:
      folder: for the image, the logs and the memory between runs.
      configs: further config files of the image, text by name.
    """
    image, logs = folder / "image", folder / "logs"
    logs.mkdir()
    for room in _COPIED.findall((PROJECT_ROOT / "Dockerfile").read_text()):
        shutil.copytree(
            PROJECT_ROOT / room, image / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name, text in (configs or {}).items():
        (image / "configs" / name).write_text(text)
    with contextlib.ExitStack() as stack:
        bucket = stack.enter_context(emulator(folder))
        started: list[subprocess.Popen] = []
        stack.callback(lambda: [process.kill() for process in started if process.poll() is None])

        def start(command: list[str], variables: Mapping[str, str], log: Path) -> subprocess.Popen:
            with log.open("w") as file:
                process = subprocess.Popen(
                    command,
                    cwd=image,
                    env={**variables_of(image, bucket.environment), **variables},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            started.append(process)
            return process

        trainings = stack.enter_context(
            custom_jobs(
                start,
                certificate=folder / "server.pem",
                logs=logs,
                limits=Limits(worker=0, job=0),  # A training that fails, fails at once.
            )
        )
        bucket.front.tunnels[f"{REGION}-aiplatform.googleapis.com"] = trainings.port
        executor = Executor(
            files=_Bucket(bucket),
            metadata=MetadataStore(folder / "metadata.json"),
            start=start,
            logs=logs,
        )
        yield Vertex(bucket, executor, trainings, image, logs)


def variables_of(image: Path, more: Mapping[str, str]) -> dict[str, str]:
    """What the image sets, and nothing of this process but where its Python is."""
    return {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"]),
        "HOME": str(image.parent),
        "PYTHONPATH": str(image),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "GIT_COMMIT": "",
        **more,
    }


class _Bucket:
    def __init__(self, bucket: Emulator) -> None:
        self._bucket = bucket

    def content(self, uri: str) -> bytes | None:
        try:
            return self._bucket.content(uri.removeprefix(f"gs://{BUCKET}/"))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None
