"""The stand-in for the way to the store: what its faults do to a client, and how far they go."""

import http.client
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.cloud.object_store.certificates import write_certificates
from tests.cloud.object_store.faults import Fault, FaultPlan, Faults
from tests.cloud.object_store.front import TOKEN, front
from tests.cloud.object_store.uploads import Upload

EVERYTHING = frozenset(Fault)
REQUESTS = [f"GET /o/{number}" for number in range(2000)]


def plan(fault, share=1.0, **changed):
    return Faults(FaultPlan(shares={fault: share}, **changed))


def test_a_seed_decides_which_requests_fail():
    def failing(seed, requests):
        faults = plan(Fault.UNAVAILABLE, 0.1, seed=seed)
        return {r for r in requests if faults.next(r, possible=EVERYTHING)}

    assert failing(1, REQUESTS) == failing(1, reversed(REQUESTS)) != failing(2, REQUESTS)
    assert 150 < len(failing(1, REQUESTS)) < 250


def test_a_request_fails_no_more_often_in_a_row_than_said():
    faults = plan(Fault.UNAVAILABLE, at_most=2)
    answers = [faults.next("GET /o/1", possible=EVERYTHING) for _ in range(6)]
    assert answers == [Fault.UNAVAILABLE, Fault.UNAVAILABLE, None] * 2
    assert faults.counts == {Fault.UNAVAILABLE: 4}


def test_only_what_is_possible_happens():
    faults = plan(Fault.CUT_REQUEST)
    assert faults.next("GET /o/1", possible=frozenset({Fault.SLOW})) is None
    assert not faults.counts


def test_more_faults_than_requests():
    with pytest.raises(ValueError, match="more faults than requests"):
        FaultPlan(shares={Fault.SLOW: 0.6, Fault.UNAVAILABLE: 0.6})


class _Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    done: ClassVar[list] = []

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.done.append((self.command, self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.send_header("Location", "https://storage.googleapis.com/on?upload_id=7")
        self.end_headers()
        self.wfile.write(b"contents")

    do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def way(tmp_path):
    """A front before a store that notes what reaches it, and a client's TLS settings."""
    _Store.done.clear()
    write_certificates(tmp_path, ["*.googleapis.com"])
    with ThreadingHTTPServer(("127.0.0.1", 0), _Store) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with front(server.server_port, certificate=tmp_path / "server.pem") as state:
            yield state, ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
        server.shutdown()


def ask(way, method="GET", path="/bucket/name", body=None, **headers):
    state, context = way
    client = http.client.HTTPSConnection("127.0.0.1", state.port, context=context, timeout=10)
    client.set_tunnel("www.googleapis.com", 443)
    client.request(method, path, body=body, headers=headers)
    answer = client.getresponse()
    return answer.status, answer.headers, answer.read()


def test_a_client_at_its_real_address_reaches_the_store(way):
    status, headers, content = ask(way, Authorization=f"Bearer {TOKEN}")
    assert (status, content) == (200, b"contents")
    assert headers["Location"] == "https://www.googleapis.com/on?upload_id=7"
    assert way[0].asked == {("GET /bucket/name", 200): 1}
    assert not way[0].without_token


def test_a_request_without_a_token_is_noted(way):
    ask(way)
    assert way[0].without_token == ["GET /bucket/name"]


def test_tokens_are_handed_out(way):
    assert json.loads(ask(way, "POST", "/oauth2/v4/token", b"x")[2])["access_token"] == TOKEN
    assert not _Store.done


@pytest.mark.parametrize(("fault", "status"), [("TOO_MANY_REQUESTS", 429), ("UNAVAILABLE", 503)])
def test_a_refused_request_does_not_reach_the_store(way, fault, status):
    way[0].faults = plan(Fault[fault], at_most=1)
    assert ask(way, "DELETE")[0] == status
    assert not _Store.done
    assert ask(way, "DELETE")[0] == 200


@pytest.mark.parametrize(
    ("fault", "reaches"), [("CUT_REQUEST", False), ("LOST_ANSWER", True), ("CUT_ANSWER", True)]
)
def test_a_cut_connection(way, fault, reaches):
    way[0].faults = plan(Fault[fault], at_most=1)
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(way, "POST", body=b"0123456789")
    assert bool(_Store.done) is reaches
    assert ask(way, "POST", body=b"0123456789")[0] == 200
    assert _Store.done[-1] == ("POST", "/bucket/name", b"0123456789")


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        (("Content-Length", "10"), b"01234"),
        (("Transfer-Encoding", "chunked"), b"a\r\n01234"),
        (("Transfer-Encoding", "chunked"), b"5\r\n01234\r\n"),
    ],
)
def test_half_a_request_of_a_client_that_dies_does_not_reach_the_store(way, header, sent):
    state, context = way
    client = http.client.HTTPSConnection("127.0.0.1", state.port, context=context, timeout=10)
    client.set_tunnel("www.googleapis.com", 443)
    client.putrequest("POST", "/bucket/name")
    client.putheader(*header)
    client.endheaders(sent)
    client.sock.shutdown(socket.SHUT_WR)
    while client.sock.recv(1000):  # Until the front is done with it.
        pass
    assert not _Store.done
    assert ask(way, "POST", body=b"whole")[0] == 200


def test_an_upload_goes_on_where_it_was_cut(way):
    way[0].faults = plan(Fault.CUT_REQUEST, at_most=1)
    body, path = bytes(range(256)) * 4096, "/upload?upload_id=7"
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(way, "PUT", path, body, **{"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"})
    way[0].faults = Faults(FaultPlan())
    status, headers, _ = ask(way, "PUT", path, **{"Content-Range": f"bytes */{len(body)}"})
    assert (status, headers["Range"]) == (308, "bytes=0-524287")
    rest = {"Content-Range": f"bytes 524288-{len(body) - 1}/{len(body)}"}
    assert ask(way, "PUT", path, body[524288:], **rest)[0] == 200
    assert _Store.done == [("PUT", path, body)]
    # Who lost the answer asks again and hears the same.
    assert ask(way, "PUT", path, **{"Content-Range": f"bytes */{len(body)}"})[0] == 200
    assert len(_Store.done) == 1


@pytest.mark.parametrize(
    ("parts", "complete"),
    [
        ([(None, b"abc")], [True]),
        ([("bytes 0-1/3", b"ab"), ("bytes 2-2/3", b"c")], [False, True]),
        ([("bytes 0-1/*", b"ab"), ("bytes 2-2/*", b"c"), ("bytes */3", b"")], [False, False, True]),
        ([("bytes 0-2/*", b"abx"), ("bytes 2-2/3", b"c")], [False, True]),
    ],
)
def test_parts_of_an_upload(parts, complete):
    upload = Upload()
    assert [upload.take(*part) for part in parts] == complete
    assert upload.received == b"abc"


def test_nothing_of_an_upload_is_there_yet():
    upload = Upload()
    assert not upload.take("bytes */3", b"")
    assert upload.progress() == (308, [], b"")
    upload.take_cut("bytes 0-2/3", b"a")
    assert upload.received == b""
