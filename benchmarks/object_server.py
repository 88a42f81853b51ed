"""Google Cloud Storage's JSON API on this machine, as far as the project's clients ask for it.

`benchmarks/bucket.py` reads and writes by HTTPS, the tests without TLS. Google's own library is led
here by `STORAGE_EMULATOR_HOST`.
"""

import base64
import bisect
import collections
import contextlib
import email
import email.policy
import hashlib
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import google_crc32c

_OBJECT = re.compile(r"^/(?:download/)?storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/?]+)$")
_BUCKET = re.compile(r"^/storage/v1/b/(?P<bucket>[^/]+)$")
_LISTING = re.compile(r"^/storage/v1/b/(?P<bucket>[^/]+)/o$")
_UPLOAD = re.compile(r"^/(?:resumable/)?upload/storage/v1/b/(?P<bucket>[^/]+)/o$")
_RANGE = re.compile(r"bytes[= ](\d+)-(\d*)")
_PAGE = 1000
_MADE_AT = "2026-11-27T01:02:03.%03dZ"


class Store:
    """Objects by "bucket/name".

    Attributes:
      objects: content.
      asked: how often each kind of request came: "list", "metadata", "read", "write" (an object's
        end or its only part), "part" (of an upload that goes on), "delete", "batch", "token".
      latency_s: before each answer.
      refuses: (kind, name) to a status, so that what fails can be chosen; called first.
      bytes_read: of the contents that were answered.
      damages: so many objects are answered with a wrong byte.
      connections: that were made.
      together: the most requests that were answered at the same time.
    """

    def __init__(self, latency_s: float = 0.0):
        self.objects: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.hashes: dict[str, tuple[str, str]] = {}
        self.sorted_names: list[str] | None = None
        self.asked: collections.Counter[str] = collections.Counter()
        self.latency_s = latency_s
        self.refuses = lambda kind, name: 0
        self.address = ""
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.lock = threading.Lock()
        self.now = self.together = self.damages = self.connections = 0
        self.bytes_read = 0

    def put(self, name: str, content: bytes) -> None:
        """Puts an object there, under its bucket and name."""
        hashes = google_crc32c.Checksum(content), hashlib.md5(content)
        crc, md5 = (base64.b64encode(digest.digest()).decode() for digest in hashes)
        with self.lock:
            self.objects[name] = content
            self.hashes[name] = crc, md5
            self.generations[name] = self.generations.get(name, 0) + 1
            self.sorted_names = None

    def names(self) -> list[str]:
        with self.lock:
            if self.sorted_names is None:
                self.sorted_names = sorted(self.objects)
            return self.sorted_names

    def class_a(self) -> int:
        """Operations that are billed as class A: writing and listing."""
        return self.asked["list"] + self.asked["write"]

    def class_b(self) -> int:
        """Operations that are billed as class B: reading."""
        return self.asked["metadata"] + self.asked["read"]


def _described(store: Store, key: str, fields: str = "") -> dict[str, str]:
    bucket, _, name = key.partition("/")
    content = store.objects[key]
    number, quoted = store.generations[key], urllib.parse.quote(name, safe="")
    all_of_it = {
        "kind": "storage#object",
        "id": f"{key}/{number}",
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket}/o/{name}",
        "mediaLink": f"{store.address}/download/storage/v1/b/{bucket}/o/{quoted}"
        f"?generation={number}&alt=media",
        "name": name,
        "bucket": bucket,
        "generation": str(number),
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": str(len(content)),
        "md5Hash": store.hashes[key][1],
        "crc32c": store.hashes[key][0],
        "etag": "CPjt3eHe8vkCEAE=",
        "timeCreated": _MADE_AT % (number % 1000),
        "updated": _MADE_AT % (number % 1000),
        "timeStorageClassUpdated": _MADE_AT % (number % 1000),
    }
    if "items(" in fields:
        wanted = fields.partition("items(")[2].partition(")")[0].split(",")
        return {name: all_of_it[name] for name in wanted}
    return all_of_it


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def setup(self) -> None:
        super().setup()
        with self.store.lock:
            self.store.connections += 1
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _handle(self) -> None:
        body = self._body()
        store = self.store
        with store.lock:
            store.now += 1
            store.together = max(store.together, store.now)
        try:
            time.sleep(store.latency_s)
            self._answer(body)
        finally:
            with store.lock:
                store.now -= 1

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _count(self, kind: str, name: str = "") -> bool:
        """Notes a request; False if it is refused, and answered so."""
        with self.store.lock:
            self.store.asked[kind] += 1
        if status := self.store.refuses(kind, name):
            message = {"error": {"code": status, "message": f"refused: {kind} {name}"}}
            self._send(status, json.dumps(message).encode())
            return False
        return True

    def _answer(self, body: bytes) -> None:
        place, _, query = self.path.partition("?")
        given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if place == "/token":
            self._count("token")
            token = {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}
            self._send(200, json.dumps(token).encode())
        elif self.command == "GET" and (found := _LISTING.match(place)):
            self._list(found["bucket"], given)
        elif found := _BUCKET.match(place):
            # Google's client asks once in the background, for what it tells OpenTelemetry.
            described = {"kind": "storage#bucket", "name": found["bucket"], "location": "EU"}
            self._send(200, json.dumps({**described, "projectNumber": "1"}).encode())
        elif found := _OBJECT.match(place):
            key = f"{found['bucket']}/{urllib.parse.unquote(found['name'])}"
            self._object(key, given)
        elif found := _UPLOAD.match(place):
            self._upload(found["bucket"], given, body)
        elif place.startswith("/batch"):
            self._batch(body)
        else:
            self._send(400, b'{"error": {"message": "unknown to the stand-in"}}')

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response_only(status)
        headers.setdefault("Content_Type", "application/json; charset=UTF-8")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _list(self, bucket: str, given: dict[str, str]) -> None:
        prefix, fields = given.get("prefix", ""), given.get("fields", "")
        if not self._count("list", f"{bucket}/{prefix}"):
            return
        names, start = self.store.names(), f"{bucket}/{prefix}"
        at_most = min(int(given.get("maxResults", _PAGE)), _PAGE)
        items: list[dict[str, str]] = []
        folders: dict[str, None] = {}
        token = ""
        after = given.get("pageToken", "")
        first = bisect.bisect_left(names, max(start, after))
        for place in range(first, len(names)):
            key = names[place]
            if not key.startswith(start):
                break
            if len(items) + len(folders) >= at_most:
                token = key
                break
            rest = key[len(start) :]
            if given.get("delimiter") and "/" in rest:
                folders[f"{prefix}{rest.split('/')[0]}/"] = None
            else:
                items.append(_described(self.store, key, fields))
        content = {"kind": "storage#objects", "items": items, "prefixes": list(folders)}
        if token:
            content["nextPageToken"] = token
        self._send(200, json.dumps({k: v for k, v in content.items() if v}).encode())

    def _object(self, key: str, given: dict[str, str]) -> None:
        kind = "delete" if self.command == "DELETE" else "metadata"
        kind = "read" if given.get("alt") == "media" else kind
        if not self._count(kind, key):
            return
        content = self.store.objects.get(key)
        if content is None:
            self._send(404, b'{"error": {"code": 404, "message": "No such object"}}')
        elif kind == "delete":
            self.store.objects.pop(key, None)
            self.store.sorted_names = None
            self._send(204, b"")
        elif kind == "metadata":
            self._send(200, json.dumps(_described(self.store, key)).encode())
        else:
            self._read(content, *self.store.hashes[key])

    def _read(self, content: bytes, crc: str, md5: str) -> None:
        if found := _RANGE.match(self.headers.get("Range", "")):
            first, last = int(found[1]), int(found[2] or len(content) - 1)
            if first >= len(content):
                self._send(416, b"")
                return
            part = content[first : last + 1]
            self.store.bytes_read += len(part)
            where = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            self._send(206, part, Content_Range=where)
            return
        self.store.bytes_read += len(content)
        if self.store.damages:
            self.store.damages -= 1
            content = b"X" + content[1:]
        hashes = {"X_Goog_Hash": f"crc32c={crc},md5={md5}"}
        self._send(200, content, Content_Type="application/octet-stream", **hashes)

    def _upload(self, bucket: str, given: dict[str, str], body: bytes) -> None:
        if given["uploadType"] == "multipart":
            start = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n"
            boundary = email.message_from_bytes(start).get_boundary("").encode()
            described, content = _multipart(body, boundary)
            self._written(f"{bucket}/{json.loads(described)['name']}", content)
        elif "upload_id" not in given:
            name = given.get("name") or json.loads(body)["name"]
            number = f"{len(self.store.uploads)}"
            self.store.uploads[number] = (f"{bucket}/{name}", bytearray())
            # What is billed is the object, when it is complete.
            self.store.asked["part"] += 1
            where = f"{self.store.address}{self.path}&upload_id={number}"
            self._send(200, b"", Location=where)
        elif self.command == "DELETE":
            self.store.uploads.pop(given["upload_id"], None)
            self._send(499, b"")
        else:
            self._part(given["upload_id"], body)

    def _part(self, number: str, body: bytes) -> None:
        key, received = self.store.uploads[number]
        total = self.headers.get("Content-Range", "bytes */0").rpartition("/")[2]
        received += body
        if total == str(len(received)):
            self._written(key, bytes(received))
            return
        if self._count("part", key):
            self._send(308, b"", Range=f"bytes=0-{len(received) - 1}")

    def _written(self, key: str, content: bytes) -> None:
        if self._count("write", key):
            self.store.put(key, content)
            self._send(200, json.dumps(_described(self.store, key)).encode())

    def _batch(self, body: bytes) -> None:
        """Deletes; other requests are not put together by what is used here."""
        self._count("batch")
        parts = []
        for found in re.finditer(rb"DELETE (\S+) HTTP/1.1", body):
            place = _OBJECT.match(urllib.parse.urlsplit(found[1].decode()).path)
            self.store.asked["delete"] += 1
            self.store.objects.pop(f"{place['bucket']}/{urllib.parse.unquote(place['name'])}", None)
            self.store.sorted_names = None
            parts.append(
                "--answer\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
            )
        content = ("".join(parts) + "--answer--").encode()
        self._send(200, content, Content_Type='multipart/mixed; boundary="answer"')

    def log_message(self, *_: object) -> None:
        pass


def _multipart(body: bytes, boundary: bytes) -> tuple[bytes, bytes]:
    """The description and the content of an upload."""
    first = body.index(b"--" + boundary)
    second = body.index(b"\r\n--" + boundary, first)
    end = body.rindex(b"\r\n--" + boundary + b"--")
    described = body[body.index(b"\r\n\r\n", first) + 4 : second]
    return described, body[body.index(b"\r\n\r\n", second + 2) + 4 : end]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@contextlib.contextmanager
def serving(store: Store, *, certificate: Path | None = None) -> Iterator[Store]:
    """Serves a store; with a certificate by HTTPS."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    host = "https://localhost" if certificate else "http://127.0.0.1"
    store.address = f"{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
