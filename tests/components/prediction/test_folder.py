"""Whose the output folder of a batch prediction is, and what of it may be removed."""

import pytest

from components.prediction import folder
from components.prediction.folder import check_no_others
from components.storage.files import remove_others, write_file
from pix2seq_model.errors import DataError
from tests.fixtures.object_store import ObjectStore
from tests.fixtures.served_bucket import served_bucket

MANIFEST = b'{"model_sha256": "", "files": {}, "settings": {}}'
OWN = (
    "detections/detections-00000-of-00002.jsonl",
    "detections/detections-00001-of-00002.tfrecord",
    "unreadable/unreadable-00000-of-00002.jsonl",
    "progress/detections-00000-of-00002.json",
    "progress/summary.json",
    "progress/plan.json",
    "progress/tmp-0123456789abcdef0123456789abcdef",
)
OTHERS = ("detections/mine.json", "detections/detections-1-of-2.jsonl", "progress/notes.txt")


@pytest.fixture(params=["here", "gs://", "objects://"])
def output(request, tmp_path, monkeypatch):
    if request.param == "here":
        yield str(tmp_path / "out")
    elif request.param == "gs://":
        with served_bucket(monkeypatch):
            yield "gs://data/out"
    else:
        assert ObjectStore.scheme() == "objects"
        yield f"objects://{tmp_path.name}/out"


def test_a_folder_is_ours_or_refused(output):
    check_no_others(output)  # None is there yet.
    write_file(output, OWN[-1], b"")
    check_no_others(output)  # What a killed worker left.
    write_file(output, OWN[0], b"")
    with pytest.raises(DataError, match=r"holds 1 file .*\(detections/detections-0.*--overwrite"):
        check_no_others(output)
    for name in OWN:
        write_file(output, name, b"")
    write_file(output, folder.WORK, b"")
    check_no_others(output)
    for name in OTHERS:
        write_file(output, name, b"")
    with pytest.raises(DataError, match=r"holds 3 files .*\(detections/detections-1-of-2"):
        check_no_others(output)


def test_what_systems_leave_in_a_folder(output):
    names = (".DS_Store", "detections/@eaDir/a.jpg", ".ipynb_checkpoints/x.py", "progress/.nfs01")
    for name in names:
        write_file(output, name, b"")
    check_no_others(output)
    write_file(output, folder.WORK, b"")
    check_no_others(output)
    remove_others(output, folder.OUR_FILES, kept=set())
    assert sorted(folder._names_below(output)) == sorted(names)


def test_a_finished_folder_without_its_notes(output):
    write_file(output, folder.MANIFEST, MANIFEST)
    write_file(output, OWN[0], b"")
    check_no_others(output)
    # Many tools call their own files so.
    for content in (b"[]", b'{"files": []}', b"no JSON"):
        write_file(output, folder.MANIFEST, content)
        with pytest.raises(DataError, match=r"holds 2 files .*predictions\.json"):
            check_no_others(output)


def test_a_folder_of_examples_is_refused(tmp_path):
    for name in ("progress/plan.json", "progress/summary.json", "dataset_info.json"):
        write_file(str(tmp_path), name, b"{}")
    with pytest.raises(DataError, match=r"\(dataset_info\.json, progress/plan\.json, "):
        check_no_others(str(tmp_path))


def test_a_link_to_a_folder_is_somebody_elses(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.jsonl").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/detections").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"holds 1 file .*\(detections\)"):
        check_no_others(str(tmp_path / "out"))


def test_only_files_that_are_called_as_our_own_are_removed(output):
    for name in (*OWN, *OTHERS):
        write_file(output, name, name.encode())
    remove_others(output, folder.OUR_FILES, kept={OWN[0]})
    assert sorted(folder._names_below(output)) == sorted((OWN[0], *OTHERS))
