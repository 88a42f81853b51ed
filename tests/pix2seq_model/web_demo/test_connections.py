"""Connections on which a client lets the server wait, on a real server."""

import asyncio
import contextlib
import http.client
import itertools
import socket

import pytest
import uvicorn
from uvicorn.server import ServerState

from pix2seq_model.web_demo import server as server_module
from pix2seq_model.web_demo.connections import Room, limited_connections
from pix2seq_model.web_demo.limits import Limits
from pix2seq_model.web_demo.server import DemoServer
from tests.fixtures.known_model import KnownModel

CONNECTIONS = 12


@contextlib.contextmanager
def serving(monkeypatch, *, seconds):
    monkeypatch.setattr(server_module, "_GRACE_SECONDS", 0.0)
    limits = Limits(max_bytes=1000, upload_seconds=seconds)
    with DemoServer(KnownModel(), limits=limits, max_connections=CONNECTIONS) as server:
        server.start()
        yield server


def connect(server, content=b""):
    connection = socket.create_connection(server.server_address, timeout=120)
    connection.sendall(content)
    return connection


def status(server):
    connection = http.client.HTTPConnection(*server.server_address, timeout=120)
    try:
        connection.request("GET", "/model")
        return connection.getresponse().status
    finally:
        connection.close()


def has_ended(connection):
    """Whether the server closes it, by an end or by a reset."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(1 << 16):
            pass
    return True


HOST = b"Host: 127.0.0.1\r\n"
STUCK = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nHo",
    "half an upload": b"POST /detect HTTP/1.1\r\n" + HOST + b"Content-Length: 900\r\n\r\nx",
}


@pytest.mark.parametrize("sent", STUCK.values(), ids=STUCK)
def test_any_number_of_them_leaves_room_for_others(sent, monkeypatch):
    with serving(monkeypatch, seconds=60) as server, contextlib.ExitStack() as stack:
        stuck = [stack.enter_context(connect(server, sent)) for _ in range(3 * CONNECTIONS)]
        assert status(server) == 200
        # Those that had waited for longest made room.
        assert has_ended(stuck[0])


@pytest.mark.parametrize("sent", STUCK.values(), ids=STUCK)
def test_one_ends_in_time(sent, monkeypatch):
    with serving(monkeypatch, seconds=0.3) as server, connect(server, sent) as stuck:
        assert has_ended(stuck)
        assert status(server) == 200


def test_one_that_reads_no_answers_ends_in_time(monkeypatch):
    """Its requests are sent ahead, until the answers fill what the system keeps for it."""
    ahead = b"GET /page.js HTTP/1.1\r\n" + HOST + b"\r\n"
    with serving(monkeypatch, seconds=0.3) as server, connect(server) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(ConnectionError):
            any(stuck.sendall(100 * ahead) for _ in itertools.count())
        assert status(server) == 200


def test_a_refused_upload_is_read_so_far_that_the_refusal_is_seen(monkeypatch):
    with serving(monkeypatch, seconds=60) as server:
        head = b"POST /detect HTTP/1.1\r\n" + HOST + b"Content-Length: 2000000\r\n\r\n"
        with connect(server, head + b"x" * 2_000_000) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /detect HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /detect HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["no host", "bad host", "two hosts", "long length", "two lengths", "TLS"],
)
def test_what_is_no_request(request_, monkeypatch):
    with serving(monkeypatch, seconds=60) as server, connect(server, request_) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
        assert status(server) == 200


def test_data_behind_a_head_request_get_an_answer_without_text():
    """They come before its own answer: uvicorn's of 400 has a text, and HEAD's may have none."""
    connection = limited_connections(Room(max_connections=4, seconds=60, max_bytes=5000))
    loop, sent = asyncio.new_event_loop(), []

    class Transport(asyncio.Transport):
        def write(self, data):
            sent.append(data)

        def close(self):
            sent.append("closed")

        def pause_reading(self): ...

        def resume_reading(self): ...

    config = uvicorn.Config(lambda *_: None, ws="none", lifespan="off", log_config=None)
    config.load()
    protocol = connection(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    transport = Transport({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
    protocol.connection_made(transport)
    protocol.data_received(b"HEAD / HTTP/1.0\r\n" + HOST + b"\r\n")
    protocol.data_received(b"more")
    assert sent[0].startswith(b"HTTP/1.1 400 ")
    assert sent[-1] == "closed"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
