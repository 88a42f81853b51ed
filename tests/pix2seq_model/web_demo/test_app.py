"""What the page's application answers and what it refuses, in process."""

import asyncio
import dataclasses
import io
import json

import httpx
import pytest
from PIL import Image

from pix2seq_model.web_demo.app import make_app
from pix2seq_model.web_demo.limits import Limits
from tests.fixtures.known_model import KnownModel

LIMITS = Limits(max_bytes=40_000, max_pixels=100_000, upload_seconds=0.2)
HERE = "http://127.0.0.1:8000"


def png(width=120, height=80):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(file, "PNG")
    return file.getvalue()


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE)


def ask(method, path, body=None, headers=None, *, is_local=True):
    async def send():
        async with client(make_app(KnownModel(), LIMITS, is_local=is_local)) as to:
            return await to.request(method, path, content=body, headers=headers)

    return asyncio.run(send())


def test_a_detection():
    answer = ask("POST", "/detect", png())
    assert answer.status_code == 200
    found = answer.json()
    assert (found["width"], found["height"]) == (120, 80)
    assert [d["category"] for d in found["detections"]] == ["tent", "<b>star</b>"]
    assert found["seconds"] >= 0


def test_the_model_is_described_without_a_place():
    assert ask("GET", "/model").json() == {
        "name": "known model",
        "classes": KnownModel.classes,
        "has_attention": True,
        "threshold": 0.257,
        "max_bytes": 40_000,
        "max_pixels": 100_000,
        "upload_seconds": 0.2,
    }


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 415, "the file is empty"),
        (b"no image at all", 415, "not an image"),
        (png()[:60], 415, "truncated"),
        (b"\0" * (LIMITS.max_bytes + 1), 413, "the file has 0.0 MB; the limit is 0.0 MB"),
        (png(400, 300), 413, "400 x 300 pixels; the limit is 100,000"),
        (png(13, 13), 500, "the model failed on this image"),
    ],
    ids=["empty", "text", "cut off", "large", "many pixels", "defect"],
)
def test_what_cannot_be_detected_in_is_refused(body, status, message):
    answer = ask("POST", "/detect", body)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/index.html", 404), ("GET", "/detect", 405), ("POST", "/", 405), ("HEAD", "/", 200)],
)
def test_there_are_no_other_pages(method, path, status):
    assert ask(method, path).status_code == status


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "+5", "5, 5", "", "9" * 5000, "٣"])
def test_a_size_that_is_no_number(length):
    headers = {"Content-Length": length.encode()}
    assert ask("POST", "/detect", b"", headers).status_code == 400


def test_a_size_that_is_not_said_and_one_that_is_too_large():
    async def sender():
        yield png()

    assert ask("POST", "/detect", sender()).status_code == 411
    # By its announced size: none of it needs to arrive.
    assert ask("POST", "/detect", b"", {"Content-Length": str(10**12)}).status_code == 413


@pytest.mark.parametrize("host", ["", "[::1", "a b", "127.0.0.1:x", "x@127.0.0.1", "[::1]]", "a/b"])
def test_a_host_that_is_no_name(host):
    answer = ask("GET", "/", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json() == {"error": "the Host of the request is not a name"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Origin": HERE}, 200),
        # Behind a server that speaks TLS, as a camera needs it.
        ({"Origin": HERE.replace("http", "https")}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"{HERE}.evil.example"}, 403),
    ],
)
def test_other_sites_are_refused(headers, status):
    assert ask("GET", "/", headers=headers).status_code == status


def test_a_page_for_others_is_reached_by_any_name_and_by_its_own_pages_alone():
    named = {"Host": "lab.example:80"}
    assert ask("GET", "/", headers=named, is_local=False).status_code == 200
    foreign = named | {"Origin": "http://evil.example"}
    assert ask("GET", "/", headers=foreign, is_local=False).status_code == 403


def test_only_so_many_wait_for_the_model():
    model = KnownModel()
    model.go_on.clear()

    async def send():
        async with client(make_app(model, LIMITS, is_local=True)) as to:
            asked = [asyncio.create_task(to.post("/detect", content=png())) for _ in range(12)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 4:
                more, _ = await asyncio.wait(set(asked) - done, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            model.go_on.set()
            return [(await task).status_code for task in asked]

    assert sorted(asyncio.run(send())) == [200] * 8 + [503] * 4


async def _slowly():
    yield b"x"
    await asyncio.Event().wait()  # And nothing more.


def _slow_uploads(to):
    size = {"Content-Length": "5000"}
    return [
        asyncio.create_task(to.post("/detect", content=_slowly(), headers=size)) for _ in range(40)
    ]


def test_slow_uploads_hold_up_nobody():
    async def send():
        patient = dataclasses.replace(LIMITS, upload_seconds=600)
        async with client(make_app(KnownModel(), patient, is_local=True)) as to:
            slow = _slow_uploads(to)
            await asyncio.sleep(0)
            quick = await to.post("/detect", content=png())
            still_there = [not task.done() for task in slow]
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            return quick, still_there

    quick, still_there = asyncio.run(send())
    assert quick.status_code == 200
    assert all(still_there)


def test_slow_uploads_end():
    async def send():
        async with client(make_app(KnownModel(), LIMITS, is_local=True)) as to:
            return await asyncio.gather(*_slow_uploads(to))

    slow = asyncio.run(send())
    assert {answer.status_code for answer in slow} == {408}
    assert "did not arrive within 0.2 s" in json.loads(slow[0].content)["error"]
