"""Whether the store of gs:// can be reached: by itself, through a proxy, as an emulator."""

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from pix2seq_model import store_access
from pix2seq_model.api import find_model
from pix2seq_model.errors import UnavailableError
from pix2seq_model.store_access import check_reachable
from tests.fixtures.closed_port import unused_port

_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in (*_VARIABLES, "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    store_access._connect.cache_clear()
    yield
    store_access._connect.cache_clear()


@contextlib.contextmanager
def proxy(answer):
    """A proxy for one connection; yields its port and a list with what it was asked."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(10_000).decode())
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join()


def test_nothing_is_asked_of_local_places(monkeypatch):
    monkeypatch.setattr(store_access, "_open", None)
    check_reachable("photos")
    check_reachable(Path("photos"))
    check_reachable("")


def test_a_name_that_is_not_known(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    with pytest.raises(UnavailableError) as refused:
        check_reachable("gs://b/x", "--images")
    assert str(refused.value) == (
        "--images=gs://b/x: no connection to storage.googleapis.com (Name or service not known): "
        "connect to the network, or copy what lies there to this machine and name the copy"
    )


def test_a_name_server_that_never_answers(monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(store_access, "_open", lambda *_: held.wait() and socket.socket())
    monkeypatch.setattr(store_access, "_WAIT_S", 0.01)
    with pytest.raises(UnavailableError, match=r"gs://b/x: .* \(no answer within 0 s\)"):
        check_reachable("gs://b/x")
    held.set()


def test_a_proxy_that_is_closed(monkeypatch):
    with unused_port() as port:
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
        with pytest.raises(UnavailableError) as refused:
            find_model("gs://bucket/model")
    assert f"through the proxy 127.0.0.1:{port} (https_proxy)" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_proxy_that_leads_nowhere(monkeypatch):
    with proxy(b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as (port, _):
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
        with pytest.raises(UnavailableError, match="Tunnel connection failed: 502"):
            check_reachable("gs://b/x")


def test_through_a_proxy_once(monkeypatch):
    with proxy(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        monkeypatch.setenv("https_proxy", f"http://me:s%20t@127.0.0.1:{port}")
        check_reachable("gs://b/x")
        check_reachable("gs://c/y")  # It would find the proxy gone.
    assert asked[0].startswith("CONNECT storage.googleapis.com:443 ")
    assert "Proxy-Authorization: Basic bWU6cyB0" in asked[0]


def test_an_emulator_needs_no_proxy(monkeypatch):
    with unused_port() as closed, socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed}")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{server.getsockname()[1]}")
        check_reachable("gs://b/x")
