"""Archives unpacked in parallel; what is refused; a second run."""

import bz2
import gzip
import io
import lzma
import tarfile

import apache_beam as beam
import pytest
import requests
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion import tar_archive
from components.conversion.tar_archive import Archive, refusal
from components.conversion.unpack_archives import (
    UnpackArchives,
    _unpack,
    check_unpacked,
    find_archives,
    operations,
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
        (member("fifo", kind=tarfile.FIFOTYPE), "neither a plain file nor a folder"),
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


@pytest.mark.parametrize(
    "name", ["a" * 256, "b/" + "\u00e9" * 128, ".", "././progress/x", "a\0b", "a\0"]
)
def test_names_that_no_file_can_have_are_refused(name):
    assert refusal(member(name), max_member_bytes=9)


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


_NOISE = bytes((n * n) % 251 for n in range(3000))


def found_in(path):
    """The files of an archive; raises DataError if it is damaged."""
    archive = Archive(str(path), max_member_bytes=10_000)
    return {file.name: file.read() for file in archive.files()}


@pytest.fixture
def tar_bytes(tmp_path):
    path = make_archive(tmp_path / "x.tar", [(member(f"{i}"), _NOISE) for i in range(3)], mode="w")
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_one_flipped_bit_of_a_compressed_archive(tmp_path, tar_bytes, pack):
    """Wherever it is: the files are those that were packed, or the archive is refused."""
    packed, path = bytearray(pack(tar_bytes)), tmp_path / "a.tar.gz"
    path.write_bytes(packed)
    whole = found_in(path)
    assert whole == {str(i): _NOISE for i in range(3)}
    refused = 0
    places = [*range(0, len(packed), 7), *range(len(packed) - 12, len(packed))]
    for place in places:
        packed[place] ^= 1 << place % 8
        path.write_bytes(packed)
        packed[place] ^= 1 << place % 8
        try:
            found = found_in(path)
        except DataError:
            refused += 1
        else:
            assert found == whole, f"byte {place}"
    assert refused > 0.9 * len(places)


def test_a_damaged_header_is_not_the_end(tmp_path, tar_bytes):
    path, size = tmp_path / "a.tar", len(_NOISE) + -len(_NOISE) % 512 + 512
    for place in (0, size + 3, 2 * size + 150):
        damaged = bytearray(tar_bytes)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged or cut off after . files .bad checksum"):
            found_in(path)
    # Zeros instead of it are not the end either.
    path.write_bytes(tar_bytes[:size] + bytes(512) + tar_bytes[size + 512 :])
    with pytest.raises(DataError, match=r"something follows|are missing"):
        found_in(path)


def test_a_cut_between_two_files(tmp_path, tar_bytes):
    size = len(_NOISE) + -len(_NOISE) % 512 + 512
    for name, pack in {"a.tar": bytes, "a.tar.gz": gzip.compress}.items():
        for end in (0, size, 2 * size, 3 * size, 3 * size + 512):
            (tmp_path / name).write_bytes(pack(tar_bytes[:end]))
            with pytest.raises(DataError, match=f"{name}: damaged or cut off.*download it again"):
                found_in(tmp_path / name)
        (tmp_path / name).write_bytes(pack(tar_bytes[: 3 * size + 1024]))
        assert len(found_in(tmp_path / name)) == 3


def test_what_follows_the_end(tmp_path, tar_bytes):
    """Two archives in one: the second one's files would be lost."""
    for content in (tar_bytes * 2, gzip.compress(tar_bytes) * 2, gzip.compress(tar_bytes) + b"x"):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(DataError, match="damaged or cut off"):
            found_in(tmp_path / "a")


def test_headers_made_to_exhaust(tmp_path):
    long_name = member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME)
    nested = make_archive(tmp_path / "b.tar", [(long_name, b"x")] * 2000, mode="w")
    long_name.size = 1 << 33
    (tmp_path / "a.tar").write_bytes(long_name.tobuf() + bytes(1024))
    for path in (tmp_path / "a.tar", nested):
        with pytest.raises(DataError, match="damaged or cut off after 0 files"):
            found_in(path)


def test_files_of_a_damaged_archive_do_not_stay(tmp_path):
    """They have the right size; the archive that is downloaded again replaces them."""
    content = _NOISE[::-1]
    files = [(member("x.jpg"), content), (member("y.jpg"), _NOISE * 1000)]
    path = make_archive(tmp_path / "a.tar.gz", files)
    whole = path.read_bytes()
    damaged = gzip.decompress(whole).replace(content, content[:-1] + b"?")
    path.write_bytes(gzip.compress(damaged)[:-8] + whole[-8:])
    with pytest.raises(DataError, match="CRC check failed"):
        unpack(tmp_path)
    assert not list(tmp_path.glob("out/progress/a.tar*"))
    assert (tmp_path / "out/x.jpg").read_bytes() == content[:-1] + b"?"
    path.write_bytes(whole)
    assert unpack(tmp_path) == 2
    assert (tmp_path / "out/x.jpg").read_bytes() == content


def test_a_file_and_a_folder_of_one_name(tmp_path):
    files = [(member("x"), b"abc"), (member("x/y.jpg"), b"abc")]
    make_archive(tmp_path / "a.tar", files, mode="w")
    with pytest.raises(DataError, match=r"'x/y.jpg' is a file and a folder"):
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
        store.put("data/out/patch0/4.jpg", b"of 9 byte")
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
            monkeypatch.setattr(tar_archive, "open_file", lambda _: failing)
        with pytest.raises(type(error), match=str(error.args[-1])):
            _unpack("gs://data/a.tar", "gs://data/out", max_member_bytes=99)
        assert [*store.objects] == ["data/a.tar"]


def test_no_archive(tmp_path):
    with pytest.raises(DataError, match="no archive matches"):
        find_archives(f"{tmp_path}/*.tar")


def test_every_cut_of_a_packed_archive_is_named(tmp_path):
    """In the header of gzip too, with the archive's name in it."""
    path = make_archive(tmp_path / "a.tar.gz", [(member("x.jpg"), b"abc")])
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        report = _unpack(str(path), str(tmp_path / "out"), max_member_bytes=99)
        assert f"{path}: damaged or cut off" in report["problem"], size
    path.write_bytes(whole)
    assert not _unpack(str(path), str(tmp_path / "out"), max_member_bytes=99)["problem"]
