"""Only digests that a registry said are written; without them the file stays."""

import http.client
import io
import json
import urllib.error

import pytest

from pipelines import image_identity
from tests.requirements.command import FOLDER, load

BEFORE = '{"BEAM_DIGEST": {"image": "before", "digest": "sha256:%s"}}' % ("1" * 64)
DOCKERFILE = (FOLDER.parent / "Dockerfile").read_text()


class Answer(io.BytesIO):
    def __init__(self, body=b"", digest=None):
        super().__init__(body)
        self.headers = {} if digest is None else {"Docker-Content-Digest": digest}


def digest_of(address):
    """One for each address, so that none can stand in another's place."""
    return f"sha256:{address.encode().hex()[-64:].rjust(64, '0')}"


class Registry:
    """Answers like Docker Hub; `last` is what it answers to the last question for a digest."""

    def __init__(self, last=None):
        self.asked, self._last = [], last

    def urlopen(self, request, timeout):
        assert timeout > 0
        if isinstance(request, str):
            assert request.startswith("https://auth.docker.io/token?")
            return Answer(json.dumps({"token": "for " + request.rpartition("scope=")[2]}).encode())
        assert request.method == "HEAD"
        self.asked.append((request.full_url, request.get_header("Authorization")))
        if self._last is not None and len(self.asked) == 2:
            return self._last()
        return Answer(digest=digest_of(request.full_url))


@pytest.fixture
def pin(monkeypatch, tmp_path):
    """The program for a folder of its own, with a file from an earlier time; returns its run."""
    module = load("pin_images", monkeypatch)
    folder = tmp_path / "requirements"
    folder.mkdir()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (folder / "images.json").write_text(BEFORE)
    monkeypatch.setattr(module, "_HERE", folder)

    def run(urlopen):
        monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
        return module.main(), folder / "images.json"

    return run


def test_what_the_registry_said_is_written(pin):
    registry = Registry()
    status, file = pin(registry.urlopen)
    assert status == 0
    beam, python = (address for address, _ in registry.asked)
    hub = "https://registry-1.docker.io/v2"
    assert beam.startswith(f"{hub}/apache/beam_python3.11_sdk/manifests/2.")
    assert python == f"{hub}/library/python/manifests/3.11-slim-bookworm"
    assert registry.asked[1][1] == "Bearer for repository:library/python:pull"
    written = json.loads(file.read_text())
    assert {name: row["digest"] for name, row in written.items()} == {
        "BEAM_DIGEST": digest_of(beam),
        "PYTHON_DIGEST": digest_of(python),
    }
    assert image_identity.image_digests(file) == {
        "BEAM_DIGEST": f"@{digest_of(beam)}",
        "PYTHON_DIGEST": f"@{digest_of(python)}",
    }
    assert [path.name for path in file.parent.iterdir()] == ["images.json"]


def raising(error):
    def answer(*_, **__):
        raise error

    return answer


NO_ANSWERS = {
    "unreachable": raising(urllib.error.URLError("Name or service not known")),
    "time": raising(TimeoutError("timed out")),
    "unknown": raising(urllib.error.HTTPError("a", 404, "Not Found", {}, None)),
    "cut": raising(http.client.IncompleteRead(b"")),
    "other": raising(http.client.BadStatusLine("x")),
}
NO_DIGESTS = {
    "none": None,
    "a tag": "latest",
    "short": "sha256:12",
    "long": "sha256:" + "0" * 65,
    "another sum": "sha512:" + "0" * 64,
    "capitals": "sha256:" + "A" * 64,
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("when", ["first", "last"])
def test_a_registry_that_cannot_be_reached_leaves_the_file(answer, when, pin, capsys):
    status, file = pin(answer if when == "first" else Registry(answer).urlopen)
    assert (status, file.read_text()) == (2, BEFORE)
    assert "No registry can be reached here" in (said := capsys.readouterr().err)
    assert "nothing was changed" in said


@pytest.mark.parametrize("digest", NO_DIGESTS.values(), ids=NO_DIGESTS)
def test_what_is_no_digest_is_not_written(digest, pin, capsys):
    status, file = pin(Registry(lambda: Answer(digest=digest)).urlopen)
    assert (status, file.read_text()) == (2, BEFORE)
    assert "says no digest of python:3.11" in capsys.readouterr().err


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b"1", b"\xff"])
def test_what_is_no_registry_is_none(body, pin, capsys):
    """A page to log in to the network, say."""
    status, file = pin(lambda *_, **__: Answer(body))
    assert (status, file.read_text()) == (2, BEFORE)
    assert "nothing was changed" in capsys.readouterr().err
