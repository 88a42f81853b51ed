"""Zip archives read in place: by ranges, by several threads, and what is no readable member."""

import os
import threading
import zipfile
from concurrent import futures

import pytest
from apache_beam.io.filesystems import FileSystems

from components.storage.image_store import ImageZip
from tests.fixtures import object_store
from tests.fixtures.served_bucket import served_bucket

NUM_FILES, FILE_BYTES = 60, 40_000


def make_archive(path, *, method=zipfile.ZIP_STORED):
    files = {f"train2017/{n:03d}.jpg": os.urandom(FILE_BYTES) for n in range(NUM_FILES)}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return files


def test_in_a_bucket_only_what_is_wanted_is_fetched(tmp_path, monkeypatch):
    files = make_archive(tmp_path / "a.zip")
    with served_bucket(monkeypatch) as bucket:
        bucket.put("data/train2017.zip", (tmp_path / "a.zip").read_bytes())
        store = ImageZip("gs://data/train2017.zip")
        assert bucket.bytes_read < NUM_FILES * FILE_BYTES / 2
        for name in ("031.jpg", "007.jpg", "059.jpg"):
            before = bucket.asked["read"], bucket.bytes_read
            assert store.read(store.locate(name).location.path) == files[f"train2017/{name}"]
            assert bucket.asked["read"] == before[0] + 1
            assert bucket.bytes_read < before[1] + 2 * FILE_BYTES


def test_several_threads_read_at_a_time(tmp_path, monkeypatch):
    """All wait for one another inside the read: one after the other would never end."""
    files = make_archive(tmp_path / "a.zip")
    store, together = ImageZip(str(tmp_path / "a.zip")), threading.Barrier(4, timeout=60)
    original = ImageZip._read_range

    def read_range(self, offset, size):
        together.wait()
        return original(self, offset, size)

    monkeypatch.setattr(ImageZip, "_read_range", read_range)
    with futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(store.read, files)) == list(files.values())


def test_on_an_object_store(tmp_path):
    files = make_archive(tmp_path / "a.zip", method=zipfile.ZIP_DEFLATED)
    path = f"{object_store.SCHEME}://{tmp_path.name}/a.zip"
    with FileSystems.create(path) as file:
        file.write((tmp_path / "a.zip").read_bytes())
    store = ImageZip(path)
    assert store.read(store.locate("train2017/005.jpg").location.path) == files["train2017/005.jpg"]


def test_a_member_whose_own_header_is_longer_than_usual(tmp_path):
    info = zipfile.ZipInfo("a.jpg")
    info.extra = b"\xff\xff" + (300).to_bytes(2, "little") + bytes(300)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"abc" * 50)
        with archive.open("streamed.jpg", "w", force_zip64=True) as file:
            file.write(b"xyz")
    store = ImageZip(str(tmp_path / "a.zip"))
    assert store.read("a.jpg") == b"abc" * 50
    assert store.read("streamed.jpg") == b"xyz"


def encrypted(data):
    # Both headers say so, the file's own at 6 and the directory's.
    place = data.index(b"PK\x01\x02") + 8
    return data[:6] + b"\x01" + data[7:place] + b"\x01" + data[place + 1 :]


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        (zipfile.ZIP_STORED, lambda d: d.replace(b"abcabc", b"abcabd", 1), "wrong checksum"),
        (zipfile.ZIP_DEFLATED, lambda d: d[:40] + bytes(9) + d[49:], "a.jpg is damaged"),
        (zipfile.ZIP_STORED, lambda d: b"XX" + d[2:], "is not where .* directory says"),
        (zipfile.ZIP_BZIP2, lambda d: d, "packed by method 12; unpack"),
        (zipfile.ZIP_STORED, encrypted, "is encrypted; unpack"),
    ],
)
def test_unreadable_members_are_refused(tmp_path, method, change, message):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.jpg", b"abc" * 50 + bytes(range(250)))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(zipfile.BadZipFile, match=message):
        ImageZip(str(path)).read("a.jpg")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (6, b"\xfa", None),
        (10, b"\x5f", "packed by method 95"),
        (20, b"\xff\xff\xff\x7f", "larger packed than unpacked"),
        (42, b"\xfe\xff\xff\xff", "is not where"),
    ],
)
def test_an_odd_entry_is_damaged_alone(tmp_path, place, value, message):
    """Its version, method, size or place in the archive's directory is no honest one."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("odd.jpg", b"abc")
        archive.writestr("whole.jpg", b"def")
    content = bytearray(path.read_bytes())
    begin = content.index(b"PK\x01\x02") + place
    content[begin : begin + len(value)] = value
    path.write_bytes(content)
    store = ImageZip(str(path))
    assert store.read("whole.jpg") == b"def"
    if message is None:
        assert store.read("odd.jpg") == b"abc"
    else:
        with pytest.raises(zipfile.BadZipFile, match=message):
            store.read("odd.jpg")
