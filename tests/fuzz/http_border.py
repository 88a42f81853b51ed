"""What comes over a connection of the page's server, without a socket."""

import asyncio
import io
from pathlib import Path

import uvicorn
from PIL import Image
from uvicorn.server import ServerState

from pix2seq_model.web_demo.app import make_app
from pix2seq_model.web_demo.connections import Room, limited_connections
from pix2seq_model.web_demo.limits import Limits
from tests.fixtures.known_model import KnownModel

_STATUSES = {200, 400, 403, 404, 405, 408, 411, 413, 415, 431}
_HOST = b"Host: 127.0.0.1\r\n"


def http_requests() -> list[bytes]:
    """Whole requests: the page, an upload, an upload in chunks, two at once."""
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "PNG")
    image = file.getvalue()
    post = b"POST /detect HTTP/1.1\r\n" + _HOST
    upload = post + b"Content-Length: %d\r\n\r\n" % len(image) + image
    chunks = post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
    page = b"GET / HTTP/1.1\r\n" + _HOST + b"Origin: http://127.0.0.1\r\n\r\n"
    return [page, upload, chunks, page + upload, b"HEAD /model HTTP/1.0\r\n" + _HOST + b"\r\n"]


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self.written, self._closing = bytearray(), False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class _Server:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: self.faults.append(context))
        self.faults: list[dict] = []
        app = make_app(KnownModel(), Limits(max_bytes=5000, max_pixels=10**6), is_local=True)
        room = Room(max_connections=4, seconds=60, max_bytes=5000)
        self.config = uvicorn.Config(
            app,
            http=limited_connections(room),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
        )
        self.config.load()
        self.state = ServerState()

    async def serve(self, data: bytes) -> bytes:
        transport = _Transport()
        connection = self.config.http_protocol_class(
            config=self.config, server_state=self.state, app_state={}, _loop=self.loop
        )
        connection.connection_made(transport)
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            if piece and not transport.is_closing():
                connection.data_received(piece)
            await asyncio.sleep(0)
        tasks = set(self.state.tasks)
        # A request that has not ended waits for the rest of it.
        if tasks:
            await asyncio.wait(tasks, timeout=0.005)
        connection.connection_lost(None)
        if self.state.tasks:
            await asyncio.wait(set(self.state.tasks), timeout=10)
        assert not self.state.tasks
        return bytes(transport.written)


_servers: list[_Server] = []


def answer(data: bytes, folder: Path) -> None:
    """Sends it in two pieces, then leaves; what comes back is HTTP and no fault of the server's."""
    if not _servers:
        _servers.append(_Server())
    server = _servers[0]
    written = server.loop.run_until_complete(server.serve(data))
    assert server.faults == []
    if written:
        version, status = written.split(b" ")[:2]
        assert version == b"HTTP/1.1"
        assert int(status) in _STATUSES, written[:300]
