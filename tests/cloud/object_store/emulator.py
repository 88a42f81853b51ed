"""A bucket on this machine: fake-gcs-server, behind a proxy that the real clients go through.

`make test-cloud` builds fake-gcs-server.
"""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.install import FOUND_FILE
from tests.cloud.object_store.certificates import write_certificates, write_service_account
from tests.cloud.object_store.front import Front, front

BUCKET = "bucket"
PROJECT = "project"
_FOUND = Path(__file__).resolve().parents[3] / "build" / "cloud" / FOUND_FILE
_START_S = 20.0


def binary() -> str:
    """Path of fake-gcs-server; skips the test where it is not installed."""
    if not _FOUND.exists():
        pytest.skip("no object store is installed: `make test-cloud` does it")
    found = json.loads(_FOUND.read_text())["fake-gcs-server"]
    if "missing" in found:
        pytest.skip(f"fake-gcs-server is not available here: {found['missing']}")
    return found["path"]


@dataclasses.dataclass(frozen=True)
class Emulator:
    """A running object store with one bucket.

    Attributes:
      front: what the clients asked, and the faults.
      environment: variables that lead a process's clients to it.
      bucket: that the methods look into.
    """

    front: Front
    environment: dict[str, str]
    _port: int
    bucket: str = BUCKET

    def address(self, name: str) -> str:
        return f"gs://{self.bucket}/{name}"

    def digests(self, prefix: str = "") -> dict[str, str]:
        """The MD5 of all objects by name, asked past the proxy; no client takes part."""
        found, page = {}, ""
        while True:
            query = f"prefix={urllib.request.quote(prefix)}&pageToken={page}"
            answer = json.loads(self._get(f"storage/v1/b/{self.bucket}/o?{query}"))
            found |= {item["name"]: item["md5Hash"] for item in answer.get("items", [])}
            if not (page := answer.get("nextPageToken", "")):
                return found

    def names(self, prefix: str = "") -> list[str]:
        """The names of all objects."""
        return sorted(self.digests(prefix))

    def content(self, name: str) -> bytes:
        """An object's bytes, asked past the proxy."""
        quoted = urllib.request.quote(name, safe="")
        return self._get(f"storage/v1/b/{self.bucket}/o/{quoted}?alt=media")

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """The content of all objects below a folder, by the name in it."""
        return {name.removeprefix(prefix): self.content(name) for name in self.names(prefix)}

    def put(self, name: str, content: bytes, *, bucket: str = "") -> None:
        """Puts an object there, or into another bucket, past the proxy."""
        quoted = urllib.request.quote(name, safe="")
        place = f"b/{bucket or self.bucket}/o?uploadType=media&name={quoted}"
        self._ask(f"upload/storage/v1/{place}", content)

    def put_folder(self, folder: Path, prefix: str, *, bucket: str = "") -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = f"{prefix}/{path.relative_to(folder)}"
                self.put(name, path.read_bytes(), bucket=bucket)

    def make_bucket(self, name: str) -> None:
        """Makes a further bucket."""
        self._ask(f"storage/v1/b?project={PROJECT}", json.dumps({"name": name}).encode())

    @property
    def store(self) -> str:
        """Address of the store itself, past the proxy."""
        return f"http://127.0.0.1:{self._port}"

    def _get(self, path: str) -> bytes:
        return self._ask(path, None)

    def _ask(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/{path}", data=body)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as answer:
            return answer.read()


@contextlib.contextmanager
def emulator(
    folder: Path, *, first_bucket: str = BUCKET, bucket: str = BUCKET
) -> Iterator[Emulator]:
    """Starts the store and its proxy; certificates and a service account's key go to `folder`.

    Args:
      folder: for all files.
      first_bucket: that is made.
      bucket: that the methods of `Emulator` look into; another one is made later.
    """
    program, port = binary(), _free_port()
    write_certificates(folder, ["*.googleapis.com", "googleapis.com", "*.pkg.dev"])
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(front(port, certificate=folder / "server.pem"))
        write_service_account(
            folder / "account.json", project=PROJECT, token_uri=f"{proxy.address}/token"
        )
        log = stack.enter_context((folder / "fake-gcs-server.log").open("w"))
        store = subprocess.Popen(
            [
                *(program, "-backend=memory", "-scheme=http", "-host=127.0.0.1", f"-port={port}"),
                *("-external-url=https://storage.googleapis.com", "-log-level=warn"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(_end, store)
        running = Emulator(proxy, _environment(proxy, folder), port, bucket)
        _make_bucket(running, first_bucket, store, folder / "fake-gcs-server.log")
        yield running


def _environment(proxy: Front, folder: Path) -> dict[str, str]:
    authority = str(folder / "authority.pem")
    return {
        "https_proxy": proxy.address,
        "HTTPS_PROXY": proxy.address,
        "no_proxy": "127.0.0.1,localhost",
        "CURL_CA_BUNDLE": authority,  # TensorFlow
        "REQUESTS_CA_BUNDLE": authority,  # google-cloud-storage, and Beam by it
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": authority,  # google-cloud-aiplatform
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "NO_GCE_CHECK": "true",
        # TensorFlow's client waits a second and more before it asks again; here less.
        "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "20000",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _make_bucket(running: Emulator, name: str, store: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            running.make_bucket(name)
            return
        except urllib.error.URLError:
            if store.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"fake-gcs-server does not start:\n{log.read_text()}") from None
            time.sleep(0.05)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(10)


def child_environment(running: Emulator, **more: str) -> dict[str, str]:
    """This process's variables, without what would lead past the emulator, with its own."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    return {**kept, **running.environment, **more}
