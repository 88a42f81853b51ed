"""Detections on disk while they are made."""

import json

import pytest

from pix2seq_model import json_file
from pix2seq_model.evaluation import detection_store
from pix2seq_model.evaluation.detection_store import DetectionStore, fingerprint_of


def row(image_id):
    return {"image_id": image_id, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


def test_what_was_flushed_comes_back_in_order(tmp_path):
    store = DetectionStore(tmp_path / "job", clock=lambda: 0.0)
    assert store.load() == ([], [])
    store.add([row(1), row(1)], ["1", "2"])
    store.flush()
    store.add([row(3)], ["3"])
    store.flush()
    store.add([row(4)], ["4"])  # never flushed: lost
    again = DetectionStore(tmp_path / "job")
    assert again.load() == ([row(1), row(1), row(3)], ["1", "2", "3"])
    again.add([row(4)], ["4"])
    again.flush()
    assert DetectionStore(tmp_path / "job").load()[1] == ["1", "2", "3", "4"]


def test_it_flushes_by_itself_after_a_while(tmp_path):
    now = 0.0
    store = DetectionStore(tmp_path / "job", clock=lambda: now)
    store.add([], ["1"])
    assert DetectionStore(tmp_path / "job").load()[1] == []
    now = 1000.0
    store.add([], ["2"])
    assert DetectionStore(tmp_path / "job").load()[1] == ["1", "2"]


def test_half_a_file_is_not_seen(tmp_path):
    store = DetectionStore(tmp_path / "job")
    store.add([row(1)], ["1"])
    store.flush()
    (tmp_path / "job" / ".part-000000001.json.partial").write_text('{"image_ids": ["2"')
    assert DetectionStore(tmp_path / "job").load()[1] == ["1"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"rows": []}', '{"rows": [], "image_ids": "2"}', '{"rows": [], "image_ids": []}'],
)
def test_a_damaged_part_is_named_and_done_again(tmp_path, capsys, text):
    store = DetectionStore(tmp_path)
    for image in (1, 2, 3):
        store.add([row(image)], [str(image)])
        store.flush()
    (tmp_path / "part-000000001.json").write_text(text)
    again = DetectionStore(tmp_path)
    assert again.load() == ([row(1)], ["1"])
    said = capsys.readouterr().err
    assert "part-000000001.json is damaged" in said
    assert said.endswith("detection is done again from its first image on\n")
    assert said.count("\n") == 1
    again.add([row(2)], ["2"])
    again.flush()
    assert DetectionStore(tmp_path).load()[1] == ["1", "2", "3"]


def test_a_part_may_be_as_large_as_other_lists_of_labels(tmp_path, monkeypatch):
    """A note's size is not that of detections: a part of a fast machine would count as damaged."""
    (tmp_path / "part-000000000.json").write_text(json.dumps({"rows": [], "image_ids": ["1"]}))
    limits = []

    def read(path, *, most_bytes=json_file.MOST_BYTES, **rules):
        limits.append(most_bytes)
        return json_file.read_json(path, most_bytes=most_bytes, **rules)

    monkeypatch.setattr(detection_store, "read_json", read)
    assert DetectionStore(tmp_path).load() == ([], ["1"])
    assert limits == [json_file.MOST_LABEL_BYTES]


def test_clearing_leaves_other_jobs_alone(tmp_path):
    for job in ("a", "b"):
        store = DetectionStore(tmp_path / "cache" / job)
        store.add([], ["1"])
        store.flush()
    DetectionStore(tmp_path / "cache" / "a").clear()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["b"]
    DetectionStore(tmp_path / "cache" / "b").clear()
    assert not (tmp_path / "cache").exists()


def test_fingerprints_differ_where_anything_does():
    base = {"model": "x", "settings": {"seed": 0, "top_p": 0.4}}
    assert fingerprint_of(**base) == fingerprint_of(settings={"top_p": 0.4, "seed": 0}, model="x")
    assert fingerprint_of(**base) != fingerprint_of(**{**base, "model": "y"})
    assert fingerprint_of(**base) != fingerprint_of(model="x", settings={"seed": 1, "top_p": 0.4})
