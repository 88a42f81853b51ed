"""Runs `pipelines/run_pipeline.py` with Google's addresses and credentials turned to a stand-in.

    python tests/cloud/submission/pointed_command.py http://127.0.0.1:1234 --config=... ...

Nothing else of the command is changed: it compiles, checks, submits and follows by Google's client.
"""

import functools
import runpy
import sys
from pathlib import Path

import google.auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

from pipelines.vertex import pinned_job, preflight
from pipelines.vertex import submit as vertex_submit
from pipelines.vertex.findings import Endpoints

PROGRAM = Path(__file__).resolve().parents[3] / "pipelines" / "run_pipeline.py"


class Credentials(AnonymousCredentials):
    def refresh(self, request):
        pass


def main(address: str, arguments: list[str]) -> None:
    google.auth.default = lambda *_, **__: (Credentials(), "p")
    preflight.Endpoints = pinned_job.Endpoints = functools.partial(
        Endpoints,
        vertex=address,
        service_usage=address,
        storage=address,
        resource_manager=address,
        iam=address,
        registry_scheme="http",
    )
    vertex_submit._POLL_S = 0.1
    aiplatform.init(
        project="p",
        location="europe-west4",
        credentials=Credentials(),
        api_transport="rest",
        api_endpoint=address,
    )
    sys.argv = [str(PROGRAM), *arguments]
    runpy.run_path(str(PROGRAM), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
