"""A proxy for Google's addresses: routes to stand-ins, sees all requests, makes faults.

Clients use it like any HTTPS proxy (`https_proxy`) and trust its authority: they keep their real
addresses, `https://storage.googleapis.com/...`, and need no switch for tests. TensorFlow's file
system for `gs://` has its addresses built in and can reach an emulator in no other way.
"""

import collections
import contextlib
import dataclasses
import email
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.cloud.object_store.faults import Fault, FaultPlan, Faults
from tests.cloud.object_store.uploads import Upload

TOKEN = "ya29.planted-token-of-the-tests"
_TOKEN_ADDRESSES = ("/token", "/oauth2/v3/token", "/oauth2/v4/token", "/o/oauth2/token")
# A client that speaks gRPC says so when it opens the connection.
_SPEAKS_GRPC = b"\x02h2"
_BATCH_ADDRESS = "/batch/storage/v1"
_NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "proxy-connection", "expect"}
_UPLOAD = re.compile(r"[?&]upload_id=([^&]+)")
_ADDRESS_IN_ANSWER = re.compile(r"^https?://[^/]+")


@dataclasses.dataclass
class Front:
    """A running front.

    Attributes:
      port: of the proxy, on 127.0.0.1.
      faults: what is done to requests to the store; may be exchanged while it runs.
      asked: method and address of each request, and the status of its answer, by number.
      without_token: requests to the store that carried no token.
      tunnels: host names of which gRPC is led, unopened, to a port on this machine.
      answer: of method, address, headers and body; what it answers does not come to the store.
      give_token: of what somebody asks for one with.
      uploads: resumable ones, by their number.
      changed: called whenever something in the store may have changed.
    """

    port: int = 0
    faults: Faults = dataclasses.field(default_factory=lambda: Faults(FaultPlan()))
    asked: collections.Counter[tuple[str, int]] = dataclasses.field(
        default_factory=collections.Counter
    )
    without_token: list[str] = dataclasses.field(default_factory=list)
    tunnels: dict[str, int] = dataclasses.field(default_factory=dict)
    uploads: dict[str, Upload] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Upload)
    )
    changed: Callable[[], None] = lambda: None
    answer: Callable[[str, str, dict[str, str], bytes], tuple[int, bytes] | None] = lambda *_: None
    give_token: Callable[[bytes], str] = lambda _: TOKEN

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def front(store_port: int, *, certificate: Path) -> Iterator[Front]:
    """Starts a proxy before an object store on a port of this machine.

    Args:
      store_port: the store's, which speaks plain HTTP.
      certificate: key and certificate for the addresses that clients believe to speak to.
    """
    state = Front()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(_Handler):
        pass

    Handler.state, Handler.store_port, Handler.tls = state, store_port, context
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.port = server.server_port
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_Answer = tuple[int, list[tuple[str, str]], bytes]
_JSON = [("Content-Type", "application/json")]
_REFUSALS = {Fault.TOO_MANY_REQUESTS: 429, Fault.UNAVAILABLE: 503}


class _Cut(Exception):  # noqa: N818
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    """Requests of one connection; `CONNECT` opens it to the host whom the client wants."""

    protocol_version = "HTTP/1.1"
    state: Front
    store_port: int
    tls: ssl.SSLContext

    def setup(self) -> None:
        super().setup()
        self._host = ""
        self._store: http.client.HTTPConnection | None = None

    def finish(self) -> None:
        if self._store is not None:
            self._store.close()
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError, _Cut):
            super().handle()
        # The socket beneath TLS is left open otherwise, and a client waits.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_CONNECT(self) -> None:
        self._host = self.path.partition(":")[0]
        self.send_response_only(200, "Connection established")
        self.end_headers()
        port = self.state.tunnels.get(self._host)
        if port and _SPEAKS_GRPC in self.connection.recv(1 << 14, socket.MSG_PEEK):
            self._splice(port)
            self.close_connection = True
            return
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.path in _TOKEN_ADDRESSES:
            given = self.state.give_token(self.rfile.read(length))
            token = {"access_token": given, "expires_in": 3600, "token_type": "Bearer"}
            self._answer(200, [("Content-Type", "application/json")], json.dumps(token).encode())
            return
        self._to_store(length)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _to_store(self, length: int) -> None:
        state, request = self.state, f"{self.command} {self.path}"
        if not self.headers.get("Authorization", "").startswith(f"Bearer {TOKEN}"):
            state.without_token.append(request)
        possible = set(Fault)
        if not length:
            possible.discard(Fault.CUT_REQUEST)
        if self.command == "HEAD":
            possible.discard(Fault.CUT_ANSWER)
        # The number of an upload is another one in each run.
        fault = state.faults.next(_UPLOAD.sub("", request), possible=frozenset(possible))
        upload = None
        if self.command == "PUT" and (number := _UPLOAD.search(self.path)):
            upload = state.uploads[number[1]]
        if fault is Fault.CUT_REQUEST:
            half = self.rfile.read(length // 2)
            if upload and not upload.answer:
                upload.take_cut(self.headers.get("Content-Range"), half)
            raise _Cut
        body = self._body(length)
        if fault in _REFUSALS:
            status, headers, content = self._refuse(request, fault)
        elif self.path == _BATCH_ADDRESS:
            status, headers, content = self._batch(body)
        elif upload:
            status, headers, content = self._upload(upload, body)
            state.asked[request, status] += 1
        else:
            status, headers, content = self._ask_store(
                self.command, self.path, dict(self.headers), body
            )
            state.asked[request, status] += 1
        if fault is Fault.LOST_ANSWER:
            raise _Cut
        if fault is Fault.SLOW:
            time.sleep(state.faults.slow_s)
        self._answer(status, headers, content, cut=fault is Fault.CUT_ANSWER)

    def _body(self, length: int) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self._whole(length)
        chunks = []
        while size := int(self._line().split(b";")[0], 16):
            chunks.append(self._whole(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    # Of a client that was killed in the middle of a request, nothing reaches the store.
    def _whole(self, length: int) -> bytes:
        body = self.rfile.read(length)
        if len(body) < length:
            raise _Cut
        return body

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line:
            raise _Cut
        return line

    def _refuse(self, request: str, fault: Fault) -> _Answer:
        status = _REFUSALS[fault]
        self.state.asked[request, status] += 1
        error = {"error": {"code": status, "message": "a fault of the tests"}}
        return status, _JSON, json.dumps(error).encode()

    def _batch(self, body: bytes) -> _Answer:
        """Answers many requests in one, each with faults of its own.

        Not left to the store: it skips parts without a number, and Google's client sends
        none.
        """
        kind = self.headers["Content-Type"].encode()
        parts = email.message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
        answers = []
        for part in parts.get_payload():
            line, _, rest = part.get_payload().partition("\n")
            method, path, _ = line.split(" ", 2)
            inner, request = email.message_from_string(rest), f"{method} {path}"
            fault = self.state.faults.next(request, possible=frozenset(_REFUSALS))
            if fault:
                status, headers, content = self._refuse(request, fault)
            else:
                status, headers, content = self._ask_store(
                    method, path, dict(inner.items()), inner.get_payload().encode()
                )
                self.state.asked[request, status] += 1
            lines = [f"HTTP/1.1 {status} {http.client.responses[status]}"]
            lines += [f"{name}: {value}" for name, value in headers]
            answers.append("\r\n".join([*lines, "", content.decode()]))
        text = "".join(
            f"--answers\r\nContent-Type: application/http\r\n\r\n{answer}\r\n" for answer in answers
        )
        header = ("Content-Type", "multipart/mixed; boundary=answers")
        return 200, [header], f"{text}--answers--\r\n".encode()

    def _upload(self, upload: Upload, body: bytes) -> _Answer:
        if upload.answer:  # The one before was lost on the way.
            return upload.answer
        if not upload.take(self.headers.get("Content-Range"), body):
            return upload.progress()
        headers = {k: v for k, v in self.headers.items() if k.lower() != "content-range"}
        upload.answer = self._ask_store("PUT", self.path, headers, upload.received)
        upload.received = b""
        return upload.answer

    def _ask_store(
        self, method: str, path: str, asked_headers: dict[str, str], body: bytes
    ) -> _Answer:
        asked = {**dict(self.headers), **asked_headers}  # Parts of a batch have the whole's token.
        url = path if path.startswith("https://") else f"https://{self._host}{path}"
        found = self.state.answer(method, url, asked, body)
        if found is not None:
            return found[0], _JSON, b"" if method == "HEAD" else found[1]
        if self._store is None:
            self._store = http.client.HTTPConnection("127.0.0.1", self.store_port)
        headers = {k: v for k, v in asked_headers.items() if k.lower() not in _NOT_FORWARDED}
        headers["Content-Length"] = str(len(body))
        self._store.request(method, path, body=body, headers=headers)
        answer = self._store.getresponse()
        content = answer.read()
        if method not in ("GET", "HEAD"):
            self.state.changed()
        answered = []
        for name, value in answer.getheaders():
            if name.lower() == "location" and self._host:
                # Where an upload continues: at the address at which it began.
                value = _ADDRESS_IN_ANSWER.sub(f"https://{self._host}", value)
            if name.lower() not in (*_NOT_FORWARDED, "content-length"):
                answered.append((name, value))
        if method == "HEAD":
            answered.append(("Content-Length", answer.getheader("Content-Length") or "0"))
        return answer.status, answered, content

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD" and status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if cut:
            self.wfile.write(content[: len(content) // 2])
            raise _Cut
        self.wfile.write(content)

    def _splice(self, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as other:

            def pump(source: socket.socket, target: socket.socket) -> None:
                with contextlib.suppress(OSError):
                    while data := source.recv(1 << 16):
                        target.sendall(data)
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)

            back = threading.Thread(target=pump, args=(other, self.connection), daemon=True)
            back.start()
            pump(self.connection, other)
            back.join()
