"""What ends the job: input that cannot be used, and more defects than the limits allow."""

import dataclasses
import gzip
import json
import random
from pathlib import Path

import pytest

from components.conversion.read_annotations import read_reported
from pix2seq_model.data import json_arrays
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.errors import DataError, UserError
from tests.fixtures.small_conversion import convert
from tests.fixtures.small_dataset import SmallDataset


def test_too_many_defects_fail_with_the_table(tmp_path):
    data = SmallDataset(10)
    del data.files["pictures/104.jpg"]
    data.boxes(105)[0]["bbox"] = [1, 1, 0, 5]
    source = {"train": data.write(tmp_path)}
    limits = DefectLimits(max_dropped_images=0.05, max_dropped_annotations=0.05)
    with pytest.raises(DataError) as caught:
        convert(tmp_path, source, limits=limits)
    message = str(caught.value)
    assert "train: 1 of 10 images dropped (10.00%), the limit is 5.00%" in message
    assert "train: 1 of 20 annotations dropped (5.00%)" not in message
    assert "1 dropped image_missing" in message
    assert "train image 104: pictures/104.jpg" in message
    assert "dead_letter" in message
    assert not (tmp_path / "out/dataset_info.json").exists()
    loose = dataclasses.replace(limits, max_dropped_images=0.1)
    assert convert(tmp_path, source, limits=loose).splits["train"].num_examples == 9


def all_crowd(data):
    for row in data.content["annotations"]:
        row["iscrowd"] = 1


def fractions(data):
    for row in data.content["annotations"]:
        row["bbox"] = [0.1, 0.2, 0.3, 0.4]


def other_key(data):
    data.content["annotation"] = data.content.pop("annotations")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (all_crowd, "no object is left to learn.*all of the 4 boxes are crowds"),
        (fractions, "train: 4 of 4 boxes lie between 0 and 1"),
        (other_key, "no object is left.*it has 'annotation': rename it to 'annotations'"),
    ],
)
def test_a_mistake_in_every_row_is_refused_with_its_cause(tmp_path, change, message):
    data = SmallDataset(2)
    change(data)
    with pytest.raises(DataError, match=f"(?s){message}"):
        convert(tmp_path, {"train": data.write(tmp_path)})
    assert not (tmp_path / "out/dataset_info.json").exists()


def break_json(folder):
    text = (folder / "labels.json").read_text()
    (folder / "labels.json").write_text(text[: len(text) * 3 // 4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(images=[]), "labels.json: no rows under 'images'.*has the keys"),
        (lambda d: d.pop("images"), r"no rows under 'images'.*\['annotations', 'categories'\]"),
        (lambda d: d.update(categories=[]), "no rows under 'categories'"),
        (lambda d: d.update(categories=[{"id": 1}]), r"categories\[0\] is \{'id': 1\}"),
    ],
)
def test_unusable_annotation_files(tmp_path, change, message):
    data = SmallDataset(4)
    change(data.content)
    with pytest.raises(DataError, match=message):
        convert(tmp_path, {"train": data.write(tmp_path)})
    assert not (tmp_path / "out/Split-train").exists()


def test_broken_json_in_the_middle(tmp_path):
    source = SmallDataset(40).write(tmp_path)
    break_json(tmp_path)
    with pytest.raises(DataError, match=r"labels.json: broken JSON after row \d+ of 'annotations'"):
        convert(tmp_path, {"train": source})
    assert not (tmp_path / "out/Split-train").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": "/nowhere/x.json"}, "annotation file of split 'train' does not exist"),
        ({"images": "/nowhere"}, "folder of images of split 'train' does not exist: /nowhere"),
        (
            {"images": "{tmp}/other"},
            "none of the first 4 images.*image_missing: pictures/100.jpg; there is 100.png",
        ),
        ({"images": "{tmp}/bad.zip"}, "not a zip archive"),
        ({"annotations": "/dev/zero"}, "/dev/zero is a device, not a file"),
        ({"images": "{tmp}/x.tar.gz"}, "unpack_archives.py"),
        ({"annotations": "{tmp}/list.json"}, r"list.json begins with b'\[\]'"),
        ({"annotations": "{tmp}/empty.json"}, "empty.json is empty"),
        ({"annotations": "{tmp}/images"}, "is a folder"),
    ],
)
def test_wrong_paths_are_refused_before_the_job(tmp_path, change, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/100.png").write_bytes(b"x")
    (tmp_path / "bad.zip").write_bytes(b"x")
    (tmp_path / "x.tar.gz").write_bytes(b"x")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "empty.json").write_text("")
    source = SmallDataset(4).write(tmp_path)
    source = dataclasses.replace(
        source, **{name: value.format(tmp=tmp_path) for name, value in change.items()}
    )
    with pytest.raises(DataError, match=message):
        convert(tmp_path, {"train": source})


def test_most_images_missing_stops_before_writing(tmp_path):
    data = SmallDataset(60)
    for i in range(102, 160):
        del data.files[f"pictures/{i}.jpg"]
    source = {"train": data.write(tmp_path)}
    limits = DefectLimits(max_dropped_images=0.2)
    with pytest.raises(DataError, match="of the 60 images of split 'train' only 2 are in"):
        convert(tmp_path, source, limits=limits)
    assert not (tmp_path / "out/Split-train").exists()


def test_output_that_cannot_be_written(tmp_path):
    source = SmallDataset(2).write(tmp_path)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"/out cannot be written.*name another one"):
        convert(tmp_path, {"train": source})


def test_a_packed_file_that_is_damaged(tmp_path):
    source = SmallDataset(2).write(tmp_path)
    packed = bytearray(gzip.compress(Path(source.annotations).read_bytes()))
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "labels.json.gz"
    path.write_bytes(packed)
    source = dataclasses.replace(source, annotations=str(path))
    with pytest.raises(DataError, match=r"labels\.json\.gz.*download or export it again"):
        convert(tmp_path, {"train": source})


def test_damage_far_inside_a_packed_file_is_a_problem_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_arrays, "_CHUNK_BYTES", 1 << 14)
    rows = [{"id": n, "name": random.Random(n).random()} for n in range(20_000)]
    packed = bytearray(gzip.compress(json.dumps({"categories": rows}).encode()))
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "labels.json.gz"
    path.write_bytes(packed)
    *_, report = read_reported("train", str(path), "categories", lambda rows: rows)
    assert "labels.json.gz" in report.value["problem"]
    assert report.value["rows"] < 20_000


def test_output_that_beam_would_take_for_a_pattern(tmp_path):
    source = SmallDataset(2).write(tmp_path)
    with pytest.raises(DataError, match=r"run\[1\]/out cannot be an output folder: Beam reads"):
        convert(tmp_path / "run[1]", {"train": source})
