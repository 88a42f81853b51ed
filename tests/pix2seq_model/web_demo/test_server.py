"""The page's server: what it answers, what it refuses, and the page in a real browser."""

import http.client
import io
import json
import time

import pytest
from PIL import Image

from pix2seq_model.web_demo.limits import Limits
from pix2seq_model.web_demo.server import DemoServer
from tests.fixtures.browser import needs_browser
from tests.fixtures.browser_session import browser_page
from tests.fixtures.known_model import KnownModel

# A picture of the browser's own camera, 640 x 480, is within them.
MAX_BYTES, MAX_PIXELS = 400_000, 400_000


@pytest.fixture(scope="module")
def server():
    limits = Limits(max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    with DemoServer(KnownModel(), limits=limits) as server:
        server.start()
        yield server


def png(width=120, height=80, color="gray"):
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


def ask(server, method, path, body=None, headers=None):
    """Status, headers, content; the path goes out exactly as it is written here."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=120)
    try:
        connection.putrequest(method, path, skip_host=bool(headers and "Host" in headers))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def test_a_detection(server):
    status, headers, content = ask(server, "POST", "/detect", png())
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    answer = json.loads(content)
    assert (answer["width"], answer["height"]) == (120, 80)
    assert [d["category"] for d in answer["detections"]] == ["tent", "<b>star</b>"]
    assert answer["seconds"] >= 0


@pytest.mark.parametrize(
    "path",
    [
        "/../demo_http.py",
        "/..%2fdemo_http.py",
        "/%2e%2e/demo_http.py",
        "/..\\demo_http.py",
        "//etc/passwd",
        "/etc/passwd",
        "/page.css/../../server.py",
        "/page.css%00",
        "/index.html",
        "file:///etc/passwd",
    ],
)
def test_no_path_leads_to_a_file(server, path):
    status, headers, content = ask(server, "GET", path)
    assert status == 404
    assert json.loads(content) == {"error": "there is no such page"}
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert ask(server, "POST", path, b"x")[0] == 404


def test_it_listens_to_this_machine_alone(server):
    assert server.is_local
    assert server.address.startswith("http://127.0.0.1:")


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    with browser_page(tmp_path_factory.mktemp("browser")) as page:
        page.size(1280)
        page.open(server.address)
        yield page


def _place(page, selector, which="(b.left + b.right) / 2, (b.top + b.bottom) / 2"):
    return page.value(
        f"(() => {{ const b = document.querySelector('{selector}').getBoundingClientRect();"
        f" return [{which}]; }})()"
    )


@needs_browser
def test_an_image_is_dropped_and_its_boxes_are_pointed_at(page, server, tmp_path):
    (tmp_path / "photo.png").write_bytes(png(300, 200))
    page.drop(tmp_path / "photo.png", 640, 700)
    page.wait("!byId('result').hidden")
    assert page.value("byId('status').textContent").startswith("2 of 2 objects shown")
    # What comes from data is text and never markup.
    assert page.value("byId('list').textContent") == "tent0.90<b>star</b>0.40"
    assert page.value("document.querySelectorAll('#stage b, #list b').length") == 0
    # The second box, 20 10 40 30 of 300 x 200, lies where it should.
    left, top, width, height = _place(page, "#image", "b.left, b.top, b.width, b.height")
    assert width / height == pytest.approx(1.5, abs=0.01)
    box = _place(page, "#boxes button:nth-child(2)", "b.left, b.top, b.width, b.height")
    scale = width / 300
    expected = [left + 20 * scale, top + 10 * scale, 40 * scale, 30 * scale]
    assert box == pytest.approx(expected, abs=1)
    # It lies on the first, larger one, and can be pointed at all the same.
    assert not page.value("byId('heat').classList.contains('on')")
    page.point(box[0] + box[2] / 2, box[1] + box[3] / 2)
    page.wait("byId('heat').classList.contains('on')")
    assert page.value("document.querySelector('#list .on .name').textContent") == "<b>star</b>"
    # The map is 2 x 2 images large, so its cell (1, 1) of 4 x 4 is the lower right quarter.
    shine = "[...byId('heat').getContext('2d').getImageData({}, {}, 1, 1).data]"
    there, elsewhere = (page.value(shine.format(x, y)) for x, y in ((225, 150), (75, 50)))
    assert there[0] > 150 > 100 > elsewhere[0]
    page.value("document.querySelector('input[value=\"4\"]').click()")
    there, elsewhere = (page.value(shine.format(x, y)) for x, y in ((225, 50), (225, 150)))
    assert there[0] > 150 > 100 > elsewhere[0]
    page.value("document.querySelector('input[value=all]').click()")
    page.point(1, 1)
    page.wait("!byId('heat').classList.contains('on')")
    # No name but this machine's was asked for.
    assert {url.split("/")[2] for url in page.requests if url.startswith("http")} == {
        "{}:{}".format(*server.server_address)
    }
    assert page.problems == []


@needs_browser
def test_the_threshold_begins_with_the_model_s_own(page):
    assert page.value("byId('threshold').value") == "0.257"
    assert page.value("byId('shown').textContent") == "0.26"


@needs_browser
def test_the_threshold_and_the_keyboard(page, tmp_path):
    page.value("byId('threshold').value = 0.3, showThreshold()")
    (tmp_path / "photo.png").write_bytes(png(300, 200))
    page.choose("#file", tmp_path / "photo.png")
    page.wait("byId('status').textContent.startsWith('2 of 2')")
    page.value("byId('threshold').focus()")
    for _ in range(15):
        page.press("ArrowRight")
    assert page.value("byId('shown').textContent") == "0.45"
    assert page.value("byId('status').textContent").startswith("1 of 2 objects shown")
    visible = "[...document.querySelectorAll('#boxes button')].filter(b => !b.hidden).length"
    assert page.value(visible) == 1
    for _ in range(3):
        page.press("Tab")
        if page.value("document.activeElement.closest('#list') !== null"):
            break
    assert page.value("document.activeElement.textContent") == "tent0.90"
    assert page.value("byId('heat').classList.contains('on')")
    page.value("document.activeElement.blur()")
    page.value("byId('threshold').value = 0.3, showThreshold()")


@needs_browser
def test_the_model_is_told_by_name_and_classes(page):
    assert page.value("byId('model').textContent") == "known model"
    assert page.value("byId('known').open")
    assert page.value("[...byId('classes').children].map(c => c.textContent)") == [
        "tent",
        "<b>star</b>",
    ]


@needs_browser
def test_picture_and_json_are_downloaded_as_they_are_shown(page, tmp_path):
    (tmp_path / "my photo.png").write_bytes(png(300, 200))
    page.choose("#file", tmp_path / "my photo.png")
    page.wait("byId('status').textContent.startsWith('2 of 2') && shownName === 'my photo.png'")
    downloads = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.call("Page.setDownloadBehavior", **downloads)
    page.value("byId('threshold').value = 0.5, showThreshold()")
    for button, name in (
        ("saveJson", "my photo_detections.json"),
        ("savePicture", "my photo_detections.jpg"),
    ):
        page.value(f"byId('{button}').click()")
        wait_for(tmp_path / name)
    page.value("byId('threshold').value = 0.3, showThreshold()")
    assert json.loads((tmp_path / "my photo_detections.json").read_text()) == {
        "file_name": "my photo.png",
        "width": 300,
        "height": 200,
        "model": "known model",
        "threshold": 0.5,
        "detections": [
            {"category_id": 0, "category": "tent", "bbox": [0, 0, 300, 200], "score": 0.9}
        ],
    }
    drawn = Image.open(tmp_path / "my photo_detections.jpg")
    assert drawn.size == (300, 200)
    # The frame of the box, 0 0 300 200, in its colour #2244cc on gray.
    red, green, blue = drawn.getpixel((150, 199))
    assert blue > red + 60
    assert blue > green + 40
    assert page.problems == []


def wait_for(path):
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)


@needs_browser
def test_the_camera_takes_a_picture(page):
    page.value("byId('camera').click()")
    page.wait("!byId('viewfinder').hidden && byId('video').videoWidth > 0")
    page.value("byId('shoot').click()")
    page.wait("shownName === 'camera.jpg' && !byId('result').hidden")
    assert page.value("byId('viewfinder').hidden")
    assert page.value("byId('video').srcObject === null")
    assert page.value("answer.width") == page.value("byId('image').naturalWidth")
    assert page.problems == []


@needs_browser
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0" * (MAX_BYTES + 1), "thing.jpg: the file has 0.4 MB; the limit is 0.4 MB."),
        (
            b"just text",
            "thing.jpg: not an image (JPEG, PNG, GIF, BMP, WEBP, TIFF, AVIF) that can be read: the "
            "file begins with b'just text'.",
        ),
        (png(800, 600), "thing.jpg: 800 x 600 pixels; the limit is 400,000."),
        (png(13, 13), "thing.jpg: the model failed on this image; the server's terminal says why."),
    ],
    ids=["large", "text", "many pixels", "defect"],
)
def test_what_cannot_be_detected_in_is_said_on_the_page(page, tmp_path, content, message):
    (tmp_path / "good.png").write_bytes(png())
    page.choose("#file", tmp_path / "good.png")
    page.wait("!byId('result').hidden")
    (tmp_path / "thing.jpg").write_bytes(content)
    page.drop(tmp_path / "thing.jpg", 300, 300)
    page.wait("!byId('problem').hidden")
    assert page.value("byId('problem').textContent") == message
    # The boxes of the image before it are gone.
    assert page.value("byId('result').hidden")
    assert page.value("byId('list').children.length") == 0
    page.choose("#file", tmp_path / "good.png")
    page.wait("byId('problem').hidden && !byId('result').hidden")
    page.problems.clear()  # The browser logs refusals as errors.


@needs_browser
def test_the_server_refuses_a_large_upload_that_the_page_let_through(page, tmp_path):
    (tmp_path / "thing.jpg").write_bytes(b"\0" * 3_000_000)
    page.value("limits.max_bytes = 1e9")
    page.choose("#file", tmp_path / "thing.jpg")
    page.wait("!byId('problem').hidden")
    assert page.value("byId('problem').textContent") == (
        "thing.jpg: the file has 3.0 MB; the limit is 0.4 MB."
    )
    page.value(f"limits.max_bytes = {MAX_BYTES}")
    page.problems.clear()


@needs_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_cut_off_and_everything_has_a_name(page, tmp_path, width):
    page.size(width)
    (tmp_path / ("a_long_name_without_any_space" * 6 + ".png")).write_bytes(png(300, 200))
    page.choose("#file", next(tmp_path.glob("*.png")))
    page.wait("!byId('result').hidden && byId('image').alt.includes('a_long')")
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value("byId('image').getBoundingClientRect().width") > 0.55 * width
    unnamed = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "radio", "image", "textbox"}
    controls = [n for n in unnamed if n.get("role", {}).get("value") in roles and not n["ignored"]]
    assert len(controls) > 8
    assert [n for n in controls if not n.get("name", {}).get("value")] == []
    page.size(1280)
