"""The web server behind the page that tries a model: three fixed files and one question.

    GET  /, /page.css, /page.js     the page
    GET  /model                     JSON: the model's name, whether it has attention, the limits
    POST /detect                    an image file; JSON: see `AttentiveModel.explain`

No path of a request ever becomes a path on disk. An upload is refused by its announced size before
it is read, and by its header's pixels before it is decoded.
"""

import ipaddress
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Protocol
from urllib.parse import urlsplit

from pix2seq_model.data.image_check import ImageDefect

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SILENCE_SECONDS = 60
_WAITING = 8  # Requests; each holds its upload in memory.
# Of a refused upload, read so that the browser gets to see the refusal.
_DRAINED_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 16


class Model(Protocol):
    """What the server needs of a model, see `demo_model`."""

    name: str
    has_attention: bool

    def explain(self, encoded: bytes, *, max_pixels: int) -> dict[str, Any]: ...


class DemoServer(ThreadingHTTPServer):
    """Serves the page; `serve_forever` runs it."""

    daemon_threads = True

    def __init__(
        self,
        model: Model,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_bytes: int = 20_000_000,
        max_pixels: int = 50_000_000,
    ) -> None:
        """
        Args:
          model: answers.
          host: address to listen at; the default can be reached from this machine alone.
          port: 0 takes one that is free.
          max_bytes: of an uploaded file.
          max_pixels: of an uploaded image.

        Raises:
          OSError: the port is taken, or the address not this machine's.
        """
        self.model, self.max_bytes, self.max_pixels = model, max_bytes, max_pixels
        self.waiting = threading.BoundedSemaphore(_WAITING)
        super().__init__((host, port), _Handler)

    @property
    def address(self) -> str:
        host, port = self._host_and_port()
        return f"http://{host}:{port}/"

    @property
    def is_local(self) -> bool:
        return ipaddress.ip_address(self._host_and_port()[0]).is_loopback

    def _host_and_port(self) -> tuple[str, int]:
        host, port = self.server_address[:2]
        return str(host), int(port)


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_SECONDS
    server_version = "Pix2Seq"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(self._get)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, method: Callable[[str], tuple[bytes, str]]) -> None:
        try:
            self._check_origin()
            content, kind = method(urlsplit(self.path).path)
            self._send(HTTPStatus.OK, content, kind)
        except _RefusedError as refused:
            self._send_json({"error": str(refused)}, refused.status)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            message = "the model failed on this image; the server's terminal says why"
            self._send_json({"error": message}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _get(self, path: str) -> tuple[bytes, str]:
        if path == "/model":
            return self._json(
                {
                    "name": self.server.model.name,
                    "has_attention": self.server.model.has_attention,
                    "max_bytes": self.server.max_bytes,
                    "max_pixels": self.server.max_pixels,
                }
            )
        if path not in _FILES:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such page")
        name, kind = _FILES[path]
        return resources.files("pix2seq_model.web_demo").joinpath("page", name).read_bytes(), kind

    def _post(self, path: str) -> tuple[bytes, str]:
        if path != "/detect":
            self.close_connection = True  # Its upload was not read.
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such page")
        if not self.server.waiting.acquire(blocking=False):
            self.close_connection = True
            raise _RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many images at once; try again"
            )
        try:
            encoded = self._upload()
            start = time.monotonic()
            answer = self.server.model.explain(encoded, max_pixels=self.server.max_pixels)
        except ImageDefect as defect:
            too_large = defect.rule == "image_too_large"
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                if too_large
                else HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                defect.detail,
            ) from None
        finally:
            self.server.waiting.release()
        answer["seconds"] = round(time.monotonic() - start, 3)
        print(
            f"{answer['width']} x {answer['height']}: {len(answer['detections'])} objects, "
            f"{answer['seconds']} s",
            file=sys.stderr,
            flush=True,
        )
        return self._json(answer)

    def _upload(self) -> bytes:
        announced = self.headers.get("Content-Length", "")
        if not (announced.isascii() and announced.isdigit()):
            self.close_connection = True
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "the request does not say its size")
        length = int(announced)
        if length > self.server.max_bytes:
            self.close_connection = True
            self._drain(length)
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the file has {length / 1e6:,.1f} MB; the limit is "
                f"{self.server.max_bytes / 1e6:,.1f} MB",
            )
        encoded = self.rfile.read(length)
        if len(encoded) < length:
            raise ConnectionError
        return encoded

    def _drain(self, length: int) -> None:
        left = min(length, _DRAINED_BYTES)
        while left > 0 and (chunk := self.rfile.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)

    def _check_origin(self) -> None:
        """Refuses other sites' pages, also those that give themselves this machine's name."""
        host = self.headers.get("Host", "")
        name = urlsplit(f"//{host}").hostname
        origin = self.headers.get("Origin")
        foreign = origin is not None and origin != f"http://{host}"
        if foreign or (self.server.is_local and name not in ("127.0.0.1", "localhost", "::1")):
            self.close_connection = True
            raise _RefusedError(HTTPStatus.FORBIDDEN, "this page is for this machine alone")

    def _json(self, value: Any) -> tuple[bytes, str]:
        return json.dumps(value).encode(), "application/json"

    def _send_json(self, value: Any, status: HTTPStatus) -> None:
        self._send(status, *self._json(value))

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Each detection has a line of its own; the rest would drown it."""
