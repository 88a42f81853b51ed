"""Archives unpacked in parallel; what is refused; a second run."""

import io
import tarfile

import apache_beam as beam
import pytest
import requests
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion import unpack_archives
from components.conversion.unpack_archives import (
    UnpackArchives,
    check_unpacked,
    find_archives,
    operations,
    refusal,
)
from components.storage import bucket
from pix2seq_model.errors import DataError
from tests.fixtures import object_store
from tests.fixtures.served_bucket import served_bucket


def member(name, *, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def make_archive(path, files, *, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for info, content in files:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(folder, *, pattern="*.tar*", **options):
    archives = find_archives(f"{folder}/{pattern}")
    output = str(folder / "out")
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        _ = pipeline | UnpackArchives(archives, output=output, **options)
    return check_unpacked(output)


def test_archives_of_both_kinds(tmp_path):
    make_archive(tmp_path / "patch0.tar.gz", [(member("patch0/a.jpg"), b"abc")])
    make_archive(
        tmp_path / "patch1.tar",
        [(member("./patch1", kind=tarfile.DIRTYPE), b""), (member("./patch1/b.jpg"), b"")],
        mode="w",
    )
    assert unpack(tmp_path) == 2
    assert (tmp_path / "out/patch0/a.jpg").read_bytes() == b"abc"
    assert (tmp_path / "out/patch1/b.jpg").read_bytes() == b""


def test_a_second_run_leaves_what_is_done(tmp_path):
    make_archive(tmp_path / "a.tar", [(member("x.jpg"), b"abc"), (member("y.jpg"), b"d")], mode="w")
    unpack(tmp_path)
    before = (tmp_path / "out/x.jpg").stat().st_mtime_ns
    (tmp_path / "out/progress/tmp-1").write_bytes(b"half")
    assert unpack(tmp_path) == 2
    # Without the note only what is missing or short is written.
    (note,) = tmp_path.glob("out/progress/a.tar-*.json")
    note.unlink()
    (tmp_path / "out/y.jpg").write_bytes(b"")
    assert unpack(tmp_path) == 2
    assert (tmp_path / "out/x.jpg").stat().st_mtime_ns == before
    assert (tmp_path / "out/y.jpg").read_bytes() == b"d"
    assert not list(tmp_path.glob("out/progress/tmp-*"))


def test_archives_of_one_name_in_two_folders(tmp_path):
    for folder in ("train", "val"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "patch0.tar.gz"
        make_archive(path, [(member(f"patch0/{folder}.jpg"), folder.encode())])
    assert unpack(tmp_path, pattern="**/*.tar.gz") == 2
    notes = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/progress/patch0*")}
    assert len(notes) == 2
    assert unpack(tmp_path, pattern="**/*.tar.gz") == 2
    assert notes == {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("out/progress/patch0*")}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member("./progress/a.tar.json"), "the one for notes"),
        (member("/etc/cron.d/x"), "absolute"),
        (member("patch0/../../x"), "leaves the folder"),
        (member("link", kind=tarfile.SYMTYPE, link="/etc"), "is a link"),
        (member("link", kind=tarfile.LNKTYPE, link="x"), "is a link"),
        (member("fifo", kind=tarfile.FIFOTYPE), "neither a file nor a folder"),
    ],
)
def test_dangerous_members_are_refused(tmp_path, bad, why):
    archive = tmp_path / "a.tar"
    make_archive(archive, [(member("good.jpg"), b"abc"), (bad, b"")], mode="w")
    with pytest.raises(DataError, match=f"a.tar: member .* is refused: .*{why}"):
        unpack(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "out"]


def test_oversized_members_are_refused(tmp_path):
    make_archive(tmp_path / "a.tar", [(member("x.jpg"), bytes(101))], mode="w")
    with pytest.raises(DataError, match="it has 101 bytes, the limit is 100"):
        unpack(tmp_path, max_member_bytes=100)


def test_windows_paths_are_refused():
    assert refusal(member("C:\\x"), max_member_bytes=9) == "its path is absolute"
    assert refusal(member("a\\..\\..\\x"), max_member_bytes=9) == "its path leaves the folder"


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_cut_off_archive(tmp_path, name):
    mode = "w:gz" if name.endswith("gz") else "w"
    noise = bytes(range(256)) * 80
    path = make_archive(tmp_path / name, [(member(f"{i}"), noise) for i in range(3)], mode=mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=f"{name}: damaged or cut off.*download it again"):
        unpack(tmp_path)


def test_on_an_object_store(tmp_path):
    make_archive(tmp_path / "a.tar.gz", [(member("patch0/a.jpg"), b"abc")])
    root = f"{object_store.SCHEME}://{tmp_path.name}"
    with FileSystems.create(f"{root}/a.tar.gz", compression_type="uncompressed") as file:
        file.write((tmp_path / "a.tar.gz").read_bytes())
    for _ in range(2):
        with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
            archives = find_archives(f"{root}/*.tar.gz")
            _ = pipeline | UnpackArchives(archives, output=f"{root}/out")
        assert check_unpacked(f"{root}/out") == 1
    with FileSystems.open(f"{root}/out/patch0/a.jpg") as file:
        assert file.read() == b"abc"


def test_in_a_bucket(tmp_path, monkeypatch):
    """Each object is written once, under its own name, and what that costs is counted."""
    files = {f"patch0/{n}.jpg": bytes([n]) * 9 for n in range(5)}
    path = make_archive(tmp_path / "a.tar.gz", [(member(n), c) for n, c in files.items()])
    with served_bucket(monkeypatch) as store:
        store.put("data/archives/a.tar.gz", path.read_bytes())
        store.put("data/out/patch0/3.jpg", files["patch0/3.jpg"])
        store.put("data/out/patch0/4.jpg", b"short")
        for is_first in (True, False):
            store.asked.clear()
            with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
                archives = find_archives("gs://data/archives/*.tar.gz")
                _ = pipeline | UnpackArchives(archives, output="gs://data/out")
            # Four images that were not there, the archive's note, the summary.
            assert store.asked["write"] == (6 if is_first else 1)
            assert check_unpacked("gs://data/out") == 5
            # Besides the images and the note, the listing of their folder.
            assert operations("gs://data/out") == 6
        names = {name.removeprefix("data/out/"): c for name, c in store.objects.items()}
    assert {name: names[name] for name in files} == files
    assert not [name for name in names if "tmp" in name]


class _Fails(io.BytesIO):
    """A file of which the beginning can be read."""

    def __init__(self, content, error):
        super().__init__(content)
        self._error = error

    def read(self, size=-1):
        if self.tell() >= tarfile.BLOCKSIZE:
            raise self._error
        return super().read(min(size, tarfile.BLOCKSIZE) if size > 0 else tarfile.BLOCKSIZE)


@pytest.mark.parametrize("broken", ["archive", "upload"])
@pytest.mark.parametrize("error", [requests.ConnectionError("no route"), OSError(5, "I/O error")])
def test_what_cannot_be_read_now_is_no_damaged_archive(tmp_path, monkeypatch, broken, error):
    """It is raised, so that the runner tries again; the archive is not called damaged."""

    def fails(*_, **__):
        raise error

    path = make_archive(tmp_path / "a.tar", [(member("x.jpg"), b"abc")], mode="w")
    with served_bucket(monkeypatch) as store:
        store.put("data/a.tar", path.read_bytes())
        if broken == "upload":
            monkeypatch.setattr(bucket, "write_object", fails)
        else:
            failing = _Fails(path.read_bytes(), error)
            monkeypatch.setattr(unpack_archives, "open_file", lambda _: failing)
        with pytest.raises(type(error), match=str(error.args[-1])):
            unpack_archives._unpack("gs://data/a.tar", "gs://data/out", max_member_bytes=99)
        assert [*store.objects] == ["data/a.tar"]


def test_no_archive(tmp_path):
    with pytest.raises(DataError, match="no archive matches"):
        find_archives(f"{tmp_path}/*.tar")
