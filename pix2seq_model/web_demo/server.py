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
        number = str(self.server_address[0])
        self.address = f"http://{number}:{self.server_port}/"
        self.is_local = ipaddress.ip_address(number).is_loopback


class _RefusedError(Exception):
    """`closes` the connection where an upload was not read."""

    def __init__(self, status: HTTPStatus, message: str, *, closes: bool = False):
        super().__init__(message)
        self.status, self.closes = status, closes


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
            self.close_connection |= refused.closes
            self._send_json({"error": str(refused)}, refused.status)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            message = "the model failed on this image; the server's terminal says why"
            self._send_json({"error": message}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _get(self, path: str) -> tuple[bytes, str]:
        if path == "/model":
            model = {name: getattr(self.server.model, name) for name in ("name", "has_attention")}
            limits = {name: getattr(self.server, name) for name in ("max_bytes", "max_pixels")}
            return self._json(model | limits)
        if path not in _FILES:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such page")
        name, kind = _FILES[path]
        return resources.files("pix2seq_model.web_demo").joinpath("page", name).read_bytes(), kind

    def _post(self, path: str) -> tuple[bytes, str]:
        if path != "/detect":
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such page", closes=True)
        if not self.server.waiting.acquire(blocking=False):
            message = "too many images at once; try again"
            raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, message, closes=True)
        try:
            encoded = self._upload()
            start = time.monotonic()
            answer = self.server.model.explain(encoded, max_pixels=self.server.max_pixels)
        except ImageDefect as defect:
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            if defect.rule == "image_too_large":
                status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise _RefusedError(status, defect.detail) from None
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
            message = "the request does not say its size"
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, message, closes=True)
        length, limit = int(announced), self.server.max_bytes
        if length > limit:
            self._drain(length)
            message = f"the file has {length / 1e6:,.1f} MB; the limit is {limit / 1e6:,.1f} MB"
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, closes=True)
        encoded = self.rfile.read(length)
        if len(encoded) < length:
            raise ConnectionError
        return encoded

    def _drain(self, length: int) -> None:
        left = min(length, _DRAINED_BYTES)
        while left > 0 and (chunk := self.rfile.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)

    def _check_origin(self) -> None:
        """Refuses other sites' pages, also those that pretend to be this machine."""
        host = self.headers.get("Host", "")
        name = urlsplit(f"//{host}").hostname
        origin = self.headers.get("Origin")
        foreign = origin is not None and origin != f"http://{host}"
        if foreign or (self.server.is_local and name not in ("127.0.0.1", "localhost", "::1")):
            message = "this page is for this machine alone"
            raise _RefusedError(HTTPStatus.FORBIDDEN, message, closes=True)

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
        """Each detection has its own line; other output would hide it."""
