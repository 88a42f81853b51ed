"""Detections on disk while they are made."""

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
