"""Which files of a folder are looked at, and what is left out and counted."""

import collections
import os
import sys
import tracemalloc
import zipfile

import pytest

from pix2seq_model.data import folder_walk
from pix2seq_model.errors import DataError
from pix2seq_model.prediction.image_sources import EndingFilter, find_images, left_out_text
from tests.fixtures.records import jpeg


def walked(folder, **options):
    left_out = collections.Counter()
    found = folder_walk.walk_files(str(folder), left_out=left_out, **options)
    return [os.path.relpath(path, folder) for path in found], +left_out


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_files_before_folders_by_name(tmp_path):
    touch(tmp_path, "b.jpg", "a.jpg", "c/d.jpg", "a/e.jpg")
    assert walked(tmp_path) == (["a.jpg", "b.jpg", "a/e.jpg", "c/d.jpg"], {})


def test_each_real_folder_once(tmp_path):
    touch(tmp_path, "photos/a.jpg", "photos/below/b.jpg")
    (tmp_path / "photos/below/loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/twice").symlink_to(tmp_path / "photos/below")
    found, left_out = walked(tmp_path / "photos")
    assert found == ["a.jpg", "below/b.jpg"]
    assert left_out == {folder_walk.TWICE: 2}


def test_a_file_is_called_by_its_own_folder_and_not_by_a_link_that_comes_before(tmp_path):
    touch(tmp_path, "set/z/a.jpg", "disk/b.jpg", "other.jpg")
    (tmp_path / "set/a").symlink_to(tmp_path / "set/z")
    (tmp_path / "set/m").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/back").symlink_to(tmp_path)  # What the folder is in is not looked at.
    found, left_out = walked(tmp_path / "set")
    assert found == ["z/a.jpg", "m/b.jpg"]
    assert left_out == {folder_walk.TWICE: 2}


def test_hidden_ones_and_what_is_no_file(tmp_path):
    touch(tmp_path, ".thumb.jpg", ".cache/x.jpg", "__MACOSX/y.jpg", "@eaDir/z.jpg", "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    found, left_out = walked(tmp_path)
    # The last three cannot be read, as is said then.
    assert found == ["a.jpg", "gone.jpg", "pipe.jpg", "self.jpg"]
    assert left_out == {folder_walk.HIDDEN: 4}


def test_what_predict_wrote(tmp_path):
    touch(tmp_path, "a.jpg", "pictures/mine.jpg", "found/contact_sheet.jpg", "found/other.jpg")
    touch(tmp_path, "found/pictures/a.jpg.jpg", "found/attention/a.jpg.jpg")
    everything = ["a.jpg", "found/contact_sheet.jpg", "found/other.jpg"]
    found, _ = walked(tmp_path)
    assert found[:3] == everything  # Somebody else's folders.
    # The command's own output, and that of an earlier run with another name.
    assert walked(tmp_path, output=str(tmp_path / "found")) == (
        ["a.jpg", "found/other.jpg", "pictures/mine.jpg"],
        {folder_walk.WRITTEN: 3},
    )
    touch(tmp_path, "found/detections.json", "found/images.json")
    assert walked(tmp_path)[1] == {folder_walk.WRITTEN: 3}


def test_what_a_run_of_predict_wrote_before_it_was_killed(tmp_path):
    touch(tmp_path, "a.jpg", "found/pictures/a.jpg.jpg", "mine/pictures/b.jpg")
    (tmp_path / "found/predict.json").write_text('{"made_by": "pix2seq predict"}')
    (tmp_path / "mine/predict.json").write_text('{"made_by": "me"}')
    touch(tmp_path, "pipe/pictures/c.jpg")
    os.mkfifo(tmp_path / "pipe/predict.json")
    found, left_out = walked(tmp_path)
    images = [name for name in found if name.endswith(".jpg")]
    assert images == ["a.jpg", "mine/pictures/b.jpg", "pipe/pictures/c.jpg"]
    assert left_out == {folder_walk.WRITTEN: 1}


def test_what_was_left_out_is_said(tmp_path):
    touch(tmp_path, "a.heic", ".b.jpg", "c.jpg", ".d/e.jpg")
    endings = EndingFilter()
    assert [source.name for source in find_images([tmp_path], endings=endings)] == ["c.jpg"]
    text = "1 file with other endings left out: .heic 1; left out: hidden 2"
    assert left_out_text(endings.left_out) == text
    (tmp_path / "c.jpg").unlink()
    with pytest.raises(DataError, match="left out: hidden 2"):
        find_images([tmp_path])


def test_archives_alike(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a.jpg", ".b.jpg", ".d/e.jpg", "__MACOSX/f.jpg"):
            archive.writestr(name, jpeg(8, 8, seed=1))
    endings = EndingFilter()
    found = find_images([tmp_path / "x.zip"], endings=endings)
    assert [source.name for source in found] == ["a.jpg"]
    assert +endings.left_out == {folder_walk.HIDDEN: 3}


DEEP = "a/" * 1500


def test_deep_names_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("x.jpg", "y.jpg", ".b/z.jpg", ".b/c/z.jpg"):
            archive.writestr(DEEP + name, b"")
    endings = EndingFilter()
    found = find_images([tmp_path / "x.zip"], endings=endings)
    assert [source.name for source in found] == [f"{DEEP}x.jpg", f"{DEEP}y.jpg"]
    assert +endings.left_out == {folder_walk.HIDDEN: 1}


def test_a_long_name_in_an_archive_takes_no_memory():
    """The paths of all folders of it would be 64 MB."""
    name = f"{'a/' * 8_000}x.jpg"
    tracemalloc.start()
    found = list(folder_walk.listed_files([name], read=dict.get, place="a.zip"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [name]
    assert peak < 20_000_000


def test_deep_folders(tmp_path):
    name = f"{'a/' * 300}x.jpg"
    touch(tmp_path, name)
    limit, calls, frame = sys.getrecursionlimit(), 0, sys._getframe()
    while frame := frame.f_back:
        calls += 1
    # So many folders that Python's own limit is reached are slow to make.
    sys.setrecursionlimit(calls + 200)
    try:
        found = list(folder_walk.walk_files(str(tmp_path)))
    finally:
        sys.setrecursionlimit(limit)
    assert found == [str(tmp_path / name)]


def test_what_an_archive_may_list():
    listed = {
        "../x/../a.jpg": b"",
        "/b.jpg": b"",
        "./c.jpg": b"",
        "c.jpg": b"",
        "out/predict.json": b'{"made_by": "pix2seq predict"}',
        "out\\pictures\\a.jpg": b"",
        "out/pictures/b.jpg": b"",
        "torn/predict.json": b"",
        "torn/pictures/d.jpg": b"",
        "..": b"",
        ".hid/a.jpg": b"",
        ".hid/b.jpg": b"",
    }
    left_out = collections.Counter()
    names = [*listed, "c.jpg"]
    found = list(
        folder_walk.listed_files(names, read=listed.__getitem__, place="a.zip", left_out=left_out)
    )
    gone = {"out\\pictures\\a.jpg", "out/pictures/b.jpg", ".hid/a.jpg", ".hid/b.jpg"}
    assert found == [name for name in names if name not in gone]
    assert left_out == {folder_walk.WRITTEN: 1, folder_walk.HIDDEN: 1}
