"""Images found in every layout, in folders and in zip archives."""

import zipfile

import pytest

from components.storage import image_store
from components.storage.image_store import (
    ImageFolder,
    ImageZip,
    candidate_paths,
    open_store,
    read_with_retries,
)

NAME = "images/v1/patch8/objects365_v1_00420917.jpg"


def test_candidates():
    assert candidate_paths(NAME) == [
        NAME,
        "patch8/objects365_v1_00420917.jpg",
        "objects365_v1_00420917.jpg",
    ]
    assert candidate_paths("a/b.jpg") == ["a/b.jpg", "b.jpg"]
    assert candidate_paths("b.jpg") == ["b.jpg"]


@pytest.fixture(params=["folder", "zip", "zip with a top folder"])
def make_store(request, tmp_path):
    def make(files):
        if request.param == "folder":
            for name, data in files.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(data)
            return ImageFolder(str(tmp_path))
        path = tmp_path / "x.zip"
        top = "train2017/" if "top" in request.param else ""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(top + name, data)
        return ImageZip(str(path))

    return make


@pytest.mark.parametrize("layout", range(3))
def test_every_layout_is_found(make_store, layout):
    store = make_store({candidate_paths(NAME)[layout]: b"abc", "other.jpg": b""})
    found = store.locate(NAME)
    assert found.size == 3
    assert store.read(found.path) == b"abc"


def test_the_fullest_path_wins(make_store):
    paths = candidate_paths(NAME)
    store = make_store({paths[2]: b"last", paths[1]: b"second", paths[0]: b"first"})
    assert store.read(store.locate(NAME).path) == b"first"


def test_missing(make_store):
    store = make_store({"x/00420917.jpg": b"", "xobjects365_v1_00420917.jpg": b""})
    assert store.locate(NAME) is None


def test_names_are_no_patterns(make_store):
    store = make_store({"a1.jpg": b"1", "b[1].jpg": b"2"})
    assert store.locate("a*.jpg") is None
    assert store.read(store.locate("b[1].jpg").path) == b"2"


def test_a_changed_file_has_another_version(tmp_path):
    import os

    (tmp_path / "a.jpg").write_bytes(b"abc")
    before = ImageFolder(str(tmp_path)).locate("a.jpg")
    os.utime(tmp_path / "a.jpg", (1, 1))
    after = ImageFolder(str(tmp_path)).locate("a.jpg")
    assert before.size == after.size
    assert before.version != after.version


def test_store_follows_the_suffix(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ZIP", "w"):
        pass
    assert isinstance(open_store(str(tmp_path / "a.ZIP")), ImageZip)
    assert isinstance(open_store(str(tmp_path)), ImageFolder)


class Flaky:
    def __init__(self, *errors):
        self.errors = list(errors)

    def read(self, path):
        if self.errors:
            raise self.errors.pop(0)
        return b"x"


def test_passing_errors_are_tried_again(monkeypatch):
    waits = []
    monkeypatch.setattr(image_store._retrying, "sleep", waits.append)
    assert read_with_retries(Flaky(OSError(), OSError()), "p") == b"x"
    assert waits == [0.5, 1.0]
    with pytest.raises(OSError, match="the fourth"):
        read_with_retries(Flaky(*[OSError("no")] * 3, OSError("the fourth")), "p")
    missing = Flaky(FileNotFoundError())
    with pytest.raises(FileNotFoundError):
        read_with_retries(missing, "p")
