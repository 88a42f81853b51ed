"""Images found in every layout, in folders and in zip archives."""

import zipfile

import pytest
from apache_beam.io.filesystems import FileSystems
from google.api_core.exceptions import ServiceUnavailable

from components.storage import image_store
from components.storage.image_names import PARTIAL
from components.storage.image_store import ImageFolder, ImageZip, open_store, read_with_retries
from pix2seq_model.errors import UnavailableError
from tests.fixtures import object_store

NAME = "images/v1/patch8/objects365_v1_00420917.jpg"
LAYOUTS = [NAME, "v1/" + NAME[10:], NAME[10:], NAME[17:]]


@pytest.fixture(params=["folder", "zip", "zip with a top folder", "bucket"])
def make_store(request, tmp_path):
    def make(files):
        if request.param == "folder":
            for name, data in files.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(data)
            return ImageFolder(str(tmp_path))
        if request.param == "bucket":
            root = f"{object_store.SCHEME}://{tmp_path.name}"
            for name, data in files.items():
                with FileSystems.create(f"{root}/{name}") as file:
                    file.write(data)
            return ImageFolder(root)
        path = tmp_path / "x.zip"
        top = "train2017/" if "top" in request.param else ""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(top + name, data)
        return ImageZip(str(path))

    return make


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(make_store, layout):
    store = make_store({layout: b"abc", "other.jpg": b""})
    found = store.locate(NAME)
    assert not found.rule
    assert found.location.size == 3
    assert store.read(found.location.path) == b"abc"


def test_the_fullest_path_wins(make_store):
    store = make_store({LAYOUTS[3]: b"last", LAYOUTS[2]: b"second", LAYOUTS[0]: b"first"})
    assert store.read(store.locate(NAME).location.path) == b"first"


def test_missing(make_store):
    store = make_store({"x/00420917.jpg": b"", "xobjects365_v1_00420917.jpg": b""})
    assert store.locate(NAME) == (None, PARTIAL, "image_missing", NAME)


def test_another_spelling_is_found_and_said(make_store):
    store = make_store({"pictures/Zürich é.JPG".replace("é", "e\u0301"): b"abc", "other.jpg": b""})
    found = store.locate("http://x.org/data/Pictures/Z%C3%BCrich%20%c3%a9.jpg?size=9")
    assert store.read(found.location.path) == b"abc"
    assert found.rule == "image_name_differs"


def test_two_files_that_fit_are_named(make_store):
    found = make_store({"images/a.jpg": b"1", "data/a.jpg": b"2"}).locate("a.jpg")
    assert not found.location
    assert found.rule == "image_ambiguous"
    assert "data/a.jpg or" in found.detail
    assert "images/a.jpg" in found.detail


def test_nothing_outside_the_folder_is_read(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"1")
    (tmp_path / "images").mkdir()
    store = ImageFolder(str(tmp_path / "images"))
    for name in ("../secret.jpg", f"{tmp_path}/secret.jpg", "a/../../secret.jpg", "..\\secret.jpg"):
        assert store.locate(name).location is None
    for name in ("", "/", "..", "a\0b.jpg", "a" * 300 + ".jpg"):
        assert store.locate(name).location is None


def test_names_in_archives_of_macs_and_windows(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("images/\N{LATIN SMALL LETTER E WITH ACUTE}.jpg", b"12")
        archive.writestr("images\\b.jpg", b"3")
        archive.writestr("__MACOSX/images/b.jpg", b"4")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    # Both headers of the first say that its name is UTF-8; a Mac's do not.
    for flags in (6, data.index(b"PK\1\2") + 8):
        assert data[flags + 1] == 8
        data[flags + 1] = 0
    (tmp_path / "a.zip").write_bytes(data)
    store = ImageZip(str(tmp_path / "a.zip"))
    assert store.read(store.locate("images/\N{LATIN SMALL LETTER E WITH ACUTE}.jpg").location.path)
    assert store.read(store.locate("images/b.jpg").location.path) == b"3"


def test_names_are_no_patterns(make_store):
    store = make_store({"a1.jpg": b"1", "b[1].jpg": b"2"})
    assert store.locate("a*.jpg").location is None
    assert store.read(store.locate("b[1].jpg").location.path) == b"2"


def test_a_changed_file_has_another_version(tmp_path):
    import os

    (tmp_path / "a.jpg").write_bytes(b"abc")
    before = ImageFolder(str(tmp_path)).locate("a.jpg")
    os.utime(tmp_path / "a.jpg", (1, 1))
    after = ImageFolder(str(tmp_path)).locate("a.jpg")
    assert before.location.size == after.location.size
    assert before.location.version != after.location.version


def test_store_follows_the_suffix(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ZIP", "w"):
        pass
    assert isinstance(open_store(str(tmp_path / "a.ZIP")), ImageZip)
    assert isinstance(open_store(str(tmp_path)), ImageFolder)


class Flaky:
    place = "gs://bucket/images"

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
    with pytest.raises(
        UnavailableError, match=r"p in gs://bucket/images .* 4 attempts: 503 .*again"
    ):
        read_with_retries(Flaky(*[OSError("no")] * 3, ServiceUnavailable("the fourth")), "p")
    missing = Flaky(FileNotFoundError())
    with pytest.raises(FileNotFoundError):
        read_with_retries(missing, "p")
