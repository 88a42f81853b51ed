"""Google Cloud on this machine: one project, and all that a run meets, at Google's addresses."""

import contextlib
import dataclasses
import json
import os
import subprocess
import urllib.error
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path

import grpc

from tests.cloud.dataflow import workers
from tests.cloud.object_store.certificates import write_service_account
from tests.cloud.object_store.emulator import Emulator, emulator
from tests.cloud.project import google, objects
from tests.cloud.project.callers import caller, token_for
from tests.cloud.project.docker import image_folder
from tests.cloud.project.programs import write_programs
from tests.cloud.project.services import Conversions, Pipelines, admit_training, named_project
from tests.cloud.project.state import VARIABLE, Project
from tests.cloud.vertex_executor import custom_jobs as trainings
from tests.cloud.vertex_executor.executor import Executor
from tests.cloud.vertex_executor.metadata import MetadataStore
from tests.cloud.vertex_executor.vertex import variables_of

REGION = "europe-west4"


@dataclasses.dataclass(frozen=True)
class GoogleCloud:
    """All of it.

    Attributes:
      project: its state.
      bucket: the object store, with the public bucket and those that commands make.
      pipelines: Vertex AI's pipeline jobs.
      trainings: its custom jobs.
      conversions: Dataflow's jobs.
      variables: of a person's commands: they find Google's addresses, and `gcloud` and the like.
      logs: folder; what each process in the cloud said.
    """

    project: Project
    bucket: Emulator
    pipelines: Pipelines
    trainings: trainings.CustomJobs
    conversions: Conversions
    variables: dict[str, str]
    logs: Path


@contextlib.contextmanager
def google_cloud(folder: Path, *, name: str, owner: str, bucket: str) -> Iterator[GoogleCloud]:
    """Starts it, with an empty project.

    Args:
      folder: for all files.
      name: of the project.
      owner: email of the one person who may do anything in it.
      bucket: that somebody will make.

    Raises:
      NotHere: a program that this needs is missing.
    """
    logs = folder / "logs"
    logs.mkdir()
    project = Project.make(folder / "project.json", name=name, owner=f"user:{owner}")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(emulator(folder, first_bucket=objects.PUBLIC, bucket=bucket))
        with project.change() as content:
            content["store"] = store.store
        store.front.give_token = token_for
        store.front.answer = _rest(project)
        prism = stack.enter_context(workers.prism(logs / "prism.log"))
        started: list[subprocess.Popen] = []
        stack.callback(lambda: [process.kill() for process in started if process.poll() is None])

        def start(command: list[str], variables: Mapping[str, str], log: Path) -> subprocess.Popen:
            ((reference, _),) = project.read()["pushed"].items()
            image = image_folder(project, reference)
            with log.open("w") as file:
                process = subprocess.Popen(
                    command,
                    cwd=image,
                    env={**variables_of(image, _in_the_cloud(project, store)), **variables},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            started.append(process)
            return process

        def convert(url: str) -> bool:
            worker = workers.packages_worker(
                _made(folder / "workers"), variables=_in_the_cloud(project, store)
            )
            graph = store.content(url.split("/", 3)[3])
            return workers.run_recorded(graph, worker=worker, address=prism, timeout_s=600)

        jobs = trainings.CustomJobs(start, logs, trainings.Limits(worker=0, job=0))
        metadata = MetadataStore(folder / "metadata.json")
        executor = Executor(files=_Files(store), metadata=metadata, start=start, logs=logs)
        pipelines = Pipelines(project, executor, folder)
        conversions = Conversions(project, convert)
        server = grpc.server(futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers(
            [
                pipelines.handlers(),
                trainings.handlers(jobs, admit_training(project)),
                *conversions.handlers(),
                named_project(project),
            ]
        )
        credentials = trainings.server_credentials(folder / "server.pem")
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        stack.callback(lambda: server.stop(0).wait())
        for host in (f"{REGION}-aiplatform", "dataflow", "cloudresourcemanager"):
            store.front.tunnels[f"{host}.googleapis.com"] = port
        variables = {
            **store.environment,
            "PATH": f"{write_programs(folder / 'bin')}{os.pathsep}/usr/bin:/bin",
            "HOME": str(_made(folder / "home")),
            VARIABLE: str(project.file),
        }
        # A person signs in.
        for secret in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
            del variables[secret]
        yield GoogleCloud(project, store, pipelines, jobs, conversions, variables, logs)


def _rest(project: Project):
    def answer(
        method: str, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes] | None:
        who = caller({name.lower(): value for name, value in headers.items()})
        # TensorFlow's client asks for buckets at another address.
        url = url.replace("https://www.googleapis.com/", f"https://{google.STORAGE}/")
        is_store = url.startswith(f"https://{google.STORAGE}/")
        content = json.loads(body) if body and not is_store else None
        found = google.answer(project, method, url, body=content, **who)
        if found is None:
            refused = objects.refusal(project, method, url, who["member"]) if is_store else None
            if refused is None and is_store:
                return None
            found = (refused.code, refused.body) if refused else (404, {"error": {"message": url}})
        return found[0], json.dumps(found[1]).encode()

    return answer


def _in_the_cloud(project: Project, bucket: Emulator) -> dict[str, str]:
    """What finds Google, and signs in as the jobs' service account; the document has one."""
    content = project.read()
    (email,) = content["accounts"]
    file = project.file.with_name("jobs_account.json")
    if not file.exists():
        write_service_account(
            file, project=content["name"], token_uri=f"{bucket.front.address}/token", email=email
        )
    place = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "GOOGLE_CLOUD_PROJECT": content["name"]}
    return {**bucket.environment, **place}


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


class _Files:
    def __init__(self, bucket: Emulator) -> None:
        self._bucket = bucket

    def content(self, uri: str) -> bytes | None:
        try:
            return self._bucket.content(uri.split("/", 3)[3])
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None
