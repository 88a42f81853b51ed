"""The application behind the page that tries a model: three fixed files and one question.

    GET  /, /page.css, /page.js     the page
    GET  /model                     JSON: the model's name and classes, whether it has attention,
                                    the score to show objects from at first, the limits
    POST /detect                    an image file; JSON: see `AttentiveModel.explain`

No path of a request ever becomes a path on disk. An upload is refused by its announced size before
it is read, and by its header's pixels before it is decoded.
"""

import dataclasses
import re
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib import resources
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.web_demo.limits import Limits
from pix2seq_model.web_demo.uploads import RefusedError, Uploads

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_WAITING = 8  # Uploads that have arrived; each is held in memory until the model has seen it.
# A name or a number of a machine, and a port: RFC 9110 section 7.2.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")


class Model(Protocol):
    """What the page needs of a model, see `web_demo.model`."""

    name: str
    classes: list[dict[str, Any]]
    has_attention: bool
    threshold: float

    def explain(self, encoded: bytes, *, max_pixels: int) -> dict[str, Any]: ...


def make_app(model: Model, limits: Limits, *, is_local: bool) -> Starlette:
    """The page's application.

    Args:
      model: answers.
      limits: of uploads.
      is_local: only this machine's own names are taken for the server's.
    """
    questions = _Questions(model, limits)
    routes = [
        *(Route(path, _file_answer(*file)) for path, file in _FILES.items()),
        Route("/model", questions.describe),
        Route("/detect", questions.detect, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(_Guard, is_local=is_local)],
        exception_handlers={HTTPException: _no_page, RefusedError: _refusal},
    )
    app.router.redirect_slashes = False
    return app


class _Questions:
    def __init__(self, model: Model, limits: Limits) -> None:
        self._model, self._limits = model, limits
        self._uploads = Uploads(
            max_bytes=limits.max_bytes,
            seconds=limits.upload_seconds,
            budget=_WAITING * limits.max_bytes,
        )
        self._waiting = 0

    async def describe(self, request: Request) -> Response:
        model = self._model
        about = {
            name: getattr(model, name) for name in ("name", "classes", "has_attention", "threshold")
        }
        return JSONResponse(about | dataclasses.asdict(self._limits))

    async def detect(self, request: Request) -> Response:
        try:
            encoded = await self._uploads.read(request)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # Nobody reads it.
        if self._waiting >= _WAITING:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many images at once; try again")
        self._waiting += 1
        try:
            answer = await run_in_threadpool(self._explain, encoded)
        finally:
            self._waiting -= 1
        return JSONResponse(answer)

    def _explain(self, encoded: bytes) -> dict[str, Any]:
        start = time.monotonic()
        try:
            answer = self._model.explain(encoded, max_pixels=self._limits.max_pixels)
        except ImageDefect as defect:
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            if defect.rule == "image_too_large":
                status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise RefusedError(status, defect.detail) from None
        except Exception:
            traceback.print_exc()
            message = "the model failed on this image; the server's terminal says why"
            raise RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, message) from None
        answer["seconds"] = round(time.monotonic() - start, 3)
        print(
            f"{answer['width']} x {answer['height']}: {len(answer['detections'])} objects, "
            f"{answer['seconds']} s",
            file=sys.stderr,
            flush=True,
        )
        return answer


class _Guard:
    """Refuses what other sites' pages ask, also those that pretend to be this machine."""

    def __init__(self, app: ASGIApp, *, is_local: bool) -> None:
        self._app, self._is_local = app, is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app = self._app if scope["type"] != "http" else self._refuses(scope) or self._app
        await app(scope, receive, send_with_headers)

    def _refuses(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _HOST.fullmatch(host)
        if not name:
            return _error("the Host of the request is not a name", HTTPStatus.BAD_REQUEST)
        foreign = origin is not None and origin not in (f"http://{host}", f"https://{host}")
        if foreign or (self._is_local and name[1].lower() not in _THIS_MACHINE):
            return _error("this page is for this machine alone", HTTPStatus.FORBIDDEN)
        return None


def _file_answer(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("pix2seq_model.web_demo").joinpath("page", name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _error(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status_code=status)


def _refusal(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, RefusedError)
    return _error(str(refused), refused.status)


def _no_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error("there is no such page", error.status_code)
