"""Which files count as images, from folders, archives and single files."""

import os
import zipfile

import pytest

from pix2seq_model.data.folder_walk import HIDDEN, WRITTEN
from pix2seq_model.errors import DataError
from pix2seq_model.prediction.image_sources import EndingFilter, find_images, left_out_text
from pix2seq_model.prediction.video_frames import find_videos
from tests.fixtures import photo_tree
from tests.fixtures.epath_bucket import epath_bucket


def test_a_folder_is_searched_to_the_bottom_for_images_only(tmp_path):
    for name in ("b.jpg", "a.PNG", "deep/er/c.jpeg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    found = find_images([tmp_path])
    assert [source.name for source in found] == ["a.PNG", "b.jpg", "deep/er/c.jpeg"]
    assert found[2].read() == b"deep/er/c.jpeg"
    assert found[2].location == str(tmp_path / "deep/er/c.jpeg")


def test_a_single_file_counts_whatever_it_is_called(tmp_path):
    (tmp_path / "picture").write_bytes(b"x")
    assert [source.name for source in find_images([tmp_path / "picture"])] == ["picture"]


def test_names_are_made_unique(tmp_path):
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").write_bytes(folder.encode())
    found = find_images([tmp_path / "one", tmp_path / "two", tmp_path / "three" / "x.jpg"])
    assert [source.name for source in found] == ["x.jpg", "x_2.jpg", "x_3.jpg"]
    assert [source.read() for source in found] == [b"one", b"two", b"three"]


def test_names_in_an_archive_cannot_lead_out_of_the_output_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../../evil.jpg", "/root.png", "ok/x.jpg", "__MACOSX/x.jpg", "readme.txt"):
            archive.writestr(name, name)
    found = find_images([tmp_path / "a.zip"])
    assert [source.name for source in found] == ["evil.jpg", "root.png", "ok/x.jpg"]
    assert found[2].read() == b"ok/x.jpg"


def test_a_damaged_entry_fails_when_it_is_read_and_only_then(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.jpg", b"content" * 10)
    damaged = bytearray((tmp_path / "a.zip").read_bytes())
    damaged[45] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(damaged)
    (source,) = find_images([tmp_path / "a.zip"])
    with pytest.raises(ValueError, match="cannot be unpacked"):
        source.read()


def test_what_is_not_there_or_holds_no_image_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        find_images([tmp_path / "nothing"])
    with pytest.raises(DataError, match="no image found"):
        find_images([tmp_path])
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a\.zip: not a zip archive"):
        find_images([tmp_path / "a.zip"])


def test_every_kind_of_image_is_found_and_the_rest_is_counted_by_ending(tmp_path):
    taken = ["a.jpg", "b.WEBP", "c.tif", "d.jfif", "e.tiff", "f.avif", "g.bmp", "h.gif"]
    left = ["1.heic", "2.HEIC", "notes.txt", "README", ".hidden"]
    (tmp_path / "photos").mkdir()
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for name in taken + left:
            (tmp_path / "photos" / name).write_bytes(b"x")
            archive.writestr(name, b"x")
    for place in ("photos", "more.zip"):
        endings = EndingFilter()
        found = find_images([tmp_path / place], endings=endings)
        assert [source.name for source in found] == taken
        text = "4 files with other endings left out: none 1, .heic 2, .txt 1; left out: hidden 1"
        assert left_out_text(endings.left_out) == text
    (tmp_path / "only").mkdir()
    (tmp_path / "only/x.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 file with other endings left out: \.heic 1"):
        find_images([tmp_path / "only"])


def test_a_pattern_is_the_files_that_it_fits(tmp_path):
    for name in ("b.jpg", "a.jpg", "c.png", "deep/d.jpg", "e[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [s.name for s in find_images([f"{tmp_path}/[ab].jpg"])] == ["a.jpg", "b.jpg"]
    assert [s.name for s in find_images([f"{tmp_path}/*/*.jpg"])] == ["d.jpg"]
    # A file of that name is that file.
    assert [s.name for s in find_images([f"{tmp_path}/e[1].jpg"])] == ["e[1].jpg"]
    with pytest.raises(DataError, match="no file is called so"):
        find_images([f"{tmp_path}/*.gif"])


def test_what_is_no_file_is_unreadable_by_its_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").symlink_to("c.jpg")
    (tmp_path / "d.jpg").symlink_to("/dev/zero")
    with (tmp_path / "e.jpg").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (tmp_path / "again").symlink_to(".")
    first, *others = find_images([tmp_path])
    assert [source.name for source in (first, *others)] == [f"{n}.jpg" for n in "abcde"]
    assert first.read() == b"x"
    for source in others:
        with pytest.raises((OSError, ValueError), match=r"no regular file|has 1,099,5"):
            source.read()


@pytest.mark.parametrize("name", ["a" * 300, "a\0b.jpg", "self.zip", "pipe.zip", "b/" * 3000])
def test_places_that_cannot_be(tmp_path, name):
    (tmp_path / "self.zip").symlink_to("self.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(DataError, match=r"no such file or folder|no regular file"):
        find_images([tmp_path / name])


def test_odd_entries_of_an_archive_are_unreadable_alone(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("packed.jpg", "whole.jpg"):
            archive.writestr(name, name)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    begin = content.index(b"PK\x01\x02")
    content[begin + 6], content[begin + 10] = 200, 95  # A version, and a method, of other programs.
    (tmp_path / "a.zip").write_bytes(content)
    packed, whole = find_images([tmp_path / "a.zip"])
    assert whole.read() == b"whole.jpg"
    with pytest.raises(ValueError, match="cannot be unpacked"):
        packed.read()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return photo_tree.write_tree(tmp_path_factory.mktemp("bucket") / "photos")


@pytest.fixture(params=["here", "gs://"])
def place(request, tree, monkeypatch):
    """One folder, of this machine and in a bucket."""
    with epath_bucket(monkeypatch, tree.parent.parent):
        bucket = f"gs://{tree.parent.name}/photos"
        yield bucket if request.param == "gs://" else str(tree)


def found_in(place, folder, output):
    """What the command finds: paths in the folder, and what it says was left out."""
    endings = EndingFilter(output=output)
    places, _ = find_videos([place], endings=endings)
    found = [source.location for source in find_images(places, endings=endings)]
    return [path.removeprefix(f"{folder}/") for path in found], +endings.left_out


def test_a_folder_in_a_bucket_and_here(place):
    found, left_out = found_in(place, place, f"{place}/found")
    assert sorted(found) == photo_tree.IMAGES
    assert left_out == photo_tree.LEFT_OUT


@pytest.mark.parametrize("pattern", photo_tree.PATTERNS)
def test_a_pattern_in_a_bucket_and_here(place, pattern):
    images, left_out = photo_tree.PATTERNS[pattern]
    if images:
        assert found_in(f"{place}/{pattern}", place, f"{place}/found") == (images, left_out)
        return
    with pytest.raises(DataError, match=f"no file is called so.*{left_out_text(left_out)}"):
        found_in(f"{place}/{pattern}", place, f"{place}/found")


def test_a_pattern_looks_into_no_other_folders_of_a_bucket(tree, monkeypatch):
    with epath_bucket(monkeypatch, tree.parent.parent) as asked:
        place = f"gs://{tree.parent.name}/photos"
        (found,) = find_images([f"{place}/*.jpg"])
        assert found.read() == b"a"
    assert asked.count("listdir") == 1


def test_an_archive_of_results(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in photo_tree.FILES.items():
            archive.writestr(f"in/{name}", content)
        archive.writestr("in\\old\\pictures\\b.jpg.jpg", "drawn, packed by another system")
    endings = EndingFilter()
    found = [source.name for source in find_images([tmp_path / "x.zip"], endings=endings)]
    # That `found` is the output of the present run cannot be seen in an archive.
    expected = sorted([*photo_tree.IMAGES, "found/pictures/g.jpg.jpg"])
    assert found == [f"in/{name}" for name in expected]
    assert +endings.left_out == photo_tree.LEFT_OUT | {WRITTEN: 3}


def test_archives_by_a_pattern(tmp_path):
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(f"{name}.jpg", b"x")
            archive.writestr(".x.jpg", b"x")
    endings = EndingFilter()
    found = find_images([f"{tmp_path}/*.zip"], endings=endings)
    assert [source.name for source in found] == ["a.zip.jpg", "b.zip.jpg"]
    assert +endings.left_out == {HIDDEN: 2}


def test_a_pattern_of_the_folder_we_are_in(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert [source.location for source in find_images(["*.jpg"])] == ["a.jpg"]
    assert [source.location for source in find_images(["**"])] == ["a.jpg"]
    with pytest.raises(DataError, match=r"none/\*\.jpg: no file is called so; .* no folder none"):
        find_images(["none/*.jpg"])
