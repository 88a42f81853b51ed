"""A local stand-in for Dataflow and the bucket that its jobs are staged to, over HTTP.

Knows as much of both interfaces as Beam's DataflowRunner and Google's storage client use to stage
and submit a job and to wait for it. What runs the job is up to the test.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

_JOBS = re.compile(r"/v1b3/projects/[\w-]+/locations/[\w-]+/jobs$")
_JOB = re.compile(r"/v1b3/projects/[\w-]+/locations/[\w-]+/jobs/([\w-]+)(/\w+)?$")
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([\w-]+)/o/([^/]+)$")
_BUCKET = re.compile(r"/storage/v1/b/([\w-]+)$")


class DataflowService:
    """What was submitted and staged.

    Attributes:
      address: http://localhost:port, for --dataflow_endpoint and STORAGE_EMULATOR_HOST.
      jobs: the submitted jobs, as JSON.
      objects: "gs://bucket/name" to the bytes staged there.
      run: carries out a job's pipeline, a proto as bytes; returns whether it succeeded.
    """

    def __init__(self, run: Callable[[bytes], bool]) -> None:
        self.address = ""
        self.jobs: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.run = run
        self._states: list[str] = []

    def pipeline(self, number: int = 0) -> bytes:
        """The pipeline proto of a job, from where the job says that it was staged."""
        options = self.jobs[number]["environment"]["sdkPipelineOptions"]["options"]
        return self.objects[options["pipelineUrl"]]

    def answer(self, method: str, address: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, content (bytes, or plain values for JSON) and headers."""
        parts = urlsplit(address)
        path, query = parts.path, parse_qs(parts.query)
        if method == "POST" and _JOBS.match(path):
            return 200, self._submitted(json.loads(body)), {}
        if method == "GET" and (match := _JOB.match(path)):
            if match[2]:  # Messages and metrics: none.
                return 200, {}, {}
            number = int(match[1])
            return 200, {**self.jobs[number], "currentState": self._states[number]}, {}
        if method == "GET" and (match := _BUCKET.match(path)):
            return 200, {"name": match[1], "location": "EUROPE-WEST4"}, {}
        if method == "GET" and (match := _OBJECT.match(path)):
            found = self.objects.get(f"gs://{match[1]}/{unquote(match[2])}")
            if found is not None:
                return 200, found, {}
        if path.startswith("/upload/storage/v1/b/"):
            name = (query.get("name") or [json.loads(body or b"{}").get("name", "")])[0]
            target = f"gs://{path.split('/')[5]}/{name}"
            if method == "POST":
                place = f"{self.address}{path}?uploadType=resumable&name={name}&upload_id=1"
                return 200, {}, {"Location": place}
            self.objects[target] = body
            checksum = base64.b64encode(google_crc32c.Checksum(body).digest()).decode()
            return 200, {"name": name, "size": str(len(body)), "crc32c": checksum}, {}
        return 404, {"error": {"message": f"{method} {path}: not here", "code": 404}}, {}

    def _submitted(self, job: dict[str, Any]) -> dict[str, Any]:
        number = len(self.jobs)
        self.jobs.append({**job, "id": str(number)})
        self._states.append("JOB_STATE_RUNNING")

        def carry_out() -> None:
            done = self.run(self.pipeline(number))
            self._states[number] = "JOB_STATE_DONE" if done else "JOB_STATE_CANCELLED"

        threading.Thread(target=carry_out, daemon=True).start()
        return {**self.jobs[number], "currentState": "JOB_STATE_RUNNING"}


@contextmanager
def dataflow_service(run: Callable[[bytes], bool] = lambda _: True) -> Iterator[DataflowService]:
    service = DataflowService(run)

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content, headers = service.answer(self.command, self.path, body)
            if not isinstance(content, bytes):
                content = json.dumps(content).encode()
                headers["Content-Type"] = "application/json"
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    # Beam talks plain HTTP to an endpoint of this name alone.
    service.address = f"http://localhost:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
