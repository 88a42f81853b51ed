"""The conversion job: every defect in its rule, nothing lost, the same bytes from the same seed."""

import dataclasses
import hashlib
import json
import zipfile
from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion.convert import convert_dataset
from components.conversion.options import SplitSource
from pix2seq_model.dataset_info import check_shards, read_dataset_info
from pix2seq_model.defects import CHANGED_IMAGES, DROPPED_IMAGES, EXPLANATIONS, DefectLimits
from pix2seq_model.errors import DataError
from pix2seq_model.records import decode_example
from pix2seq_model.tfrecord import read_records
from tests.small_dataset import HEIGHT, WIDTH, SmallDataset, image_bytes, options

ANYTHING_GOES = DefectLimits(max_dropped_images=1.0, max_dropped_annotations=1.0)


def in_memory():
    return beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))


def convert(folder, sources, **changes):
    changes = {"limits": ANYTHING_GOES, **changes}
    return convert_dataset(
        options(sources, **changes), str(folder / "out"), make_pipeline=in_memory
    )


def read_split(folder, split="train"):
    """Image id to (serialized, decoded) of all records, in order, checked against the manifest."""
    info = read_dataset_info(folder / "out")
    check_shards(folder / "out", info)
    records = {}
    for shard, path in zip(info.splits[split].shards, info.shard_paths(folder / "out", split)):
        with open(path, "rb") as file:
            data = file.read()
            file.seek(0)
            serialized = list(read_records(file, name=path))
        assert hashlib.sha256(data).hexdigest() == shard.sha256
        assert len(serialized) == shard.num_examples
        for record in serialized:
            example = decode_example(record)
            assert example["image_id"] not in records
            records[example["image_id"]] = record, example
    return records


def dead_letters(folder):
    lines = []
    for path in sorted((folder / "out/dead_letter").glob("*.jsonl")):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return lines


def found_rules(info, split="train"):
    counts = info.splits[split].counts
    rules = Counter()
    for kind in ("images", "annotations"):
        assert counts[kind]["rows_in"] == counts[kind]["written"] + sum(
            counts[kind]["dropped"].values()
        )
        rules.update(counts[kind]["dropped"])
        rules.update(counts[kind]["changed"])
    return rules


def test_clean_data(tmp_path):
    data = SmallDataset()
    info = convert(tmp_path, {"train": data.write(tmp_path)}, num_shards={"train": 3})
    assert info == read_dataset_info(tmp_path / "out")
    assert info.splits["train"].num_examples == 12
    assert info.splits["train"].num_objects == 24
    assert len(info.splits["train"].shards) == 3
    assert info.categories == ({"id": 2, "name": "ring"}, {"id": 9, "name": "box"})
    assert not found_rules(info)
    assert not dead_letters(tmp_path)
    records = read_split(tmp_path)
    assert list(records) != sorted(records)
    _, example = records["103"]
    assert example["image_encoded"] == data.files["pictures/103.jpg"]
    assert example["filename"] == "pictures/103.jpg"
    assert (example["height"], example["width"]) == (HEIGHT, WIDTH)
    by_label = dict(zip(example["labels"].tolist(), example["boxes"].tolist()))
    assert by_label[2] == pytest.approx([2 / 24, 1 / 32, 14.5 / 24, 11 / 32])
    assert by_label[9] == pytest.approx([3 / 24, 2 / 32, 15.5 / 24, 12 / 32])
    assert set(example["texts"]) == {"ring", "box"}
    assert set(example["ids"].tolist()) == {1030, 1031}


def test_same_seed_same_bytes_whatever_the_order_of_the_file(tmp_path):
    data = SmallDataset()
    first = convert(tmp_path, {"train": data.write(tmp_path)}, num_shards={"train": 3})
    data.content["images"].reverse()
    data.content["annotations"].reverse()
    again = convert(tmp_path / "2", {"train": data.write(tmp_path / "2")}, num_shards={"train": 3})
    assert first.fingerprint() == again.fingerprint()
    other = convert(
        tmp_path / "3", {"train": data.write(tmp_path / "3")}, num_shards={"train": 3}, seed=1
    )
    assert first.fingerprint() != other.fingerprint()
    assert list(read_split(tmp_path)) != list(read_split(tmp_path / "3"))


def test_the_number_of_shards_changes_the_files_only(tmp_path):
    source = {"train": SmallDataset().write(tmp_path)}
    convert(tmp_path, source, num_shards={"train": 3})
    three = read_split(tmp_path)
    convert(tmp_path, source, num_shards={"train": 5})
    assert list(read_split(tmp_path)) == list(three)
    files = sorted(path.name for path in (tmp_path / "out/Split-train").iterdir())
    assert files == [f"examples-{i:05d}-of-00005.tfrecord" for i in range(5)]


def test_more_shards_than_images_gives_empty_shards(tmp_path):
    info = convert(tmp_path, {"train": SmallDataset(2).write(tmp_path)}, num_shards={"train": 9})
    assert len(info.splits["train"].shards) == 9
    assert len(read_split(tmp_path)) == 2


def test_shards_are_near_the_wanted_size(tmp_path):
    data = SmallDataset(40)
    total = sum(map(len, data.files.values()))
    info = convert(tmp_path, {"train": data.write(tmp_path)}, shard_bytes=total // 4)
    assert len(info.splits["train"].shards) == 4


def test_images_in_a_zip_archive_give_the_same_records(tmp_path):
    data = SmallDataset()
    source = data.write(tmp_path)
    folder = convert(tmp_path, {"train": source})
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name, content in data.files.items():
            archive.writestr(f"top/{name}", content)
    zipped = SplitSource(images=str(tmp_path / "images.zip"), annotations=source.annotations)
    assert convert(tmp_path / "z", {"train": zipped}).fingerprint() == folder.fingerprint()


def test_two_splits_and_an_image_in_both(tmp_path):
    train, val = SmallDataset(6), SmallDataset(4, first_id=104)
    for row in val.content["images"]:
        row["id"] += 500
    for row in val.content["annotations"]:
        row["image_id"] += 500
    sources = {"train": train.write(tmp_path / "t"), "val": val.write(tmp_path / "v")}
    info = convert(tmp_path, sources)
    assert found_rules(info, "train") == {"image_in_several_splits": 2}
    assert found_rules(info, "val") == {"image_in_several_splits": 2}
    assert {(line["image"], line["detail"]) for line in dead_letters(tmp_path)} == {
        ("104", "pictures/104.jpg is in val too"),
        ("105", "pictures/105.jpg is in val too"),
        ("604", "pictures/104.jpg is in train too"),
        ("605", "pictures/105.jpg is in train too"),
    }
    assert len(read_split(tmp_path, "val")) == 4


def test_custom_ids(tmp_path):
    data = SmallDataset(3)
    data.content["categories"] = [{"id": 0, "name": "ring"}, {"id": 7, "name": "box"}]
    for row in data.content["images"]:
        row["id"] = f"img-{row['id']}"
    for row in data.content["annotations"]:
        row["image_id"] = f"img-{row['image_id']}"
        row["category_id"] = {2: 0, 9: "7"}[row["category_id"]]
        row["id"] = f"box-{row['id']}"
        del row["area"], row["iscrowd"]
    info = convert(tmp_path, {"train": data.write(tmp_path)})
    assert [(c["id"], c["source_id"]) for c in info.categories] == [(1, "0"), (8, "7")]
    assert found_rules(info) == {"area_from_box": 6}
    records = read_split(tmp_path)
    assert set(records) == {"img-100", "img-101", "img-102"}
    for _, example in records.values():
        assert set(example["labels"].tolist()) == {1, 8}
        assert example["area"].tolist() == [125.0, 125.0]
        assert not example["is_crowd"].any()
    assert not dead_letters(tmp_path)


# ---- Defects: name, what is done to image 100 + n, the rules that must count it, ids touched ----


def plant_missing(data, i):
    del data.files[f"pictures/{i}.jpg"]


def plant_bytes(content):
    def plant(data, i):
        data.files[f"pictures/{i}.jpg"] = content(data.files[f"pictures/{i}.jpg"])

    return plant


def plant_image(**change):
    def plant(data, i):
        row = data.image(i)
        row.update(change)
        for name in [name for name, value in change.items() if value is ...]:
            del row[name]

    return plant


def plant_box(**change):
    def plant(data, i):
        data.boxes(i)[0].update(change)

    return plant


def plant_id_again(data, i):
    data.content["images"].append({**data.image(i), "file_name": "pictures/other.jpg"})


def plant_file_again(data, i):
    data.content["images"].append({**data.image(i), "id": 9000 + i})
    data.content["annotations"].append({**data.boxes(i)[0], "image_id": 9000 + i, "id": 1})


def plant_box_again(data, i):
    data.content["annotations"].append({**data.boxes(i)[0], "id": 77000 + i})


def plant_orphan(data, i):
    data.content["annotations"].append({**data.boxes(i)[0], "image_id": 8000 + i})


def plant_rows_of_other_kinds(data, i):
    data.content["images"].append("no object")
    data.content["annotations"].append(None)


GONE = {"annotation_of_dropped_image": 2}
PLANTS = [
    (plant_missing, {"image_missing": 1, **GONE}),
    (plant_bytes(lambda d: b"<html>"), {"image_not_decodable": 1, **GONE}),
    (plant_bytes(lambda d: b""), {"image_not_decodable": 1, **GONE}),
    (plant_bytes(lambda d: d[:-30]), {"image_truncated": 1, **GONE}),
    (plant_bytes(lambda d: image_bytes(1, size=(50, 60))), {"image_wrong_size": 1, **GONE}),
    (plant_image(height=25), {"image_wrong_size": 1, **GONE}),
    (plant_image(height=-3), {"image_row_invalid": 1, **GONE}),
    (plant_image(file_name="../../x.jpg"), {"image_row_invalid": 1, **GONE}),
    (plant_image(file_name=None), {"image_row_invalid": 1, **GONE}),
    (plant_image(height=..., width=...), {"image_size_missing": 1}),
    (
        plant_bytes(lambda d: image_bytes(1, image_format="PNG")),
        {"image_format_mismatch": 1},
    ),
    (plant_bytes(lambda d: image_bytes(1, mode="CMYK")), {"image_reencoded": 1}),
    (plant_bytes(lambda d: image_bytes(1, mode="L")), {}),
    (plant_id_again, {"image_duplicate_id": 1}),
    (plant_file_again, {"image_duplicate_file": 1, "annotation_of_dropped_image": 1}),
    (plant_box(bbox=[1, 2, 3]), {"annotation_row_invalid": 1}),
    (plant_box(category_id=None), {"annotation_row_invalid": 1}),
    (plant_box(image_id=None), {"annotation_row_invalid": 1}),
    (plant_orphan, {"annotation_without_image": 1}),
    (plant_rows_of_other_kinds, {"image_row_invalid": 1, "annotation_row_invalid": 1}),
    (plant_box(category_id=5), {"category_unknown": 1}),
    (plant_box(bbox=[float("nan"), 1, 1, 1]), {"box_not_finite": 1}),
    (plant_box(bbox=[1, float("inf"), 1, 1]), {"box_not_finite": 1}),
    (plant_box(bbox=[1, 1, 0, 5]), {"box_empty": 1}),
    (plant_box(bbox=[5, 5, -2, 5]), {"box_empty": 1}),
    (plant_box(bbox=[40, 1, 5, 5]), {"box_outside": 1}),
    (plant_box(bbox=[-4, -4, 10, 10]), {"box_clipped": 1}),
    (plant_box(area=None), {"area_from_box": 1}),
    (plant_box_again, {"annotation_duplicate": 1}),
    (plant_box(iscrowd=1), {}),
    (plant_box(isfake=1, isreflected=1), {}),
]
OPTIONAL = [
    (plant_box(isfake=1), "drop_fake", {"annotation_fake": 1}),
    (plant_box(isreflected=1), "drop_reflected", {"annotation_reflected": 1}),
]
TARGET = 103
LETTERLESS = {"area_from_box"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    convert(folder, {"train": SmallDataset(len(PLANTS) + 4).write(folder)})
    return {image_id: record for image_id, (record, _) in read_split(folder).items()}


def check_planted(folder, info, expected, touched, clean, num_images):
    assert found_rules(info) == expected
    written = read_split(folder)
    lines = Counter(line["rule"] for line in dead_letters(folder))
    assert lines == {rule: n for rule, n in expected.items() if rule not in LETTERLESS}
    for image_id, (record, _) in written.items():
        if image_id not in touched:
            assert record == clean[image_id], f"image {image_id} was not touched by the defect"
    lost = sum(n for rule, n in expected.items() if rule in DROPPED_IMAGES)
    assert len(written) == info.splits["train"].counts["images"]["rows_in"] - lost
    untouched = {str(100 + n) for n in range(num_images)} - touched
    assert untouched <= set(written)


@pytest.mark.parametrize(("plant", "expected"), PLANTS)
def test_each_defect_alone(tmp_path, clean, plant, expected):
    data = SmallDataset(6)
    plant(data, TARGET)
    info = convert(tmp_path, {"train": data.write(tmp_path)})
    check_planted(tmp_path, info, expected, {str(TARGET)}, clean, 6)


def test_all_defects_together(tmp_path, clean):
    num_images = len(PLANTS) + 4
    data = SmallDataset(num_images)
    expected = Counter()
    for position, (plant, rules) in enumerate(PLANTS):
        plant(data, 100 + position)
        expected.update(rules)
    info = convert(tmp_path, {"train": data.write(tmp_path)}, num_shards={"train": 4})
    touched = {str(100 + n) for n in range(len(PLANTS))}
    check_planted(tmp_path, info, expected, touched, clean, num_images)


@pytest.mark.parametrize(("plant", "option", "expected"), OPTIONAL)
def test_objects365_marks_are_dropped_on_request(tmp_path, clean, plant, option, expected):
    data = SmallDataset(6)
    plant(data, TARGET)
    info = convert(tmp_path, {"train": data.write(tmp_path)}, **{option: True})
    check_planted(tmp_path, info, expected, {str(TARGET)}, clean, 6)


def test_pixels_are_checked_on_request(tmp_path, clean):
    data = SmallDataset(6)
    png = bytearray(image_bytes(1, image_format="PNG"))
    png[len(png) // 2 : len(png) // 2 + 30] = bytes(30)
    plant_bytes(lambda d: bytes(png))(data, TARGET)
    source = {"train": data.write(tmp_path)}
    assert found_rules(convert(tmp_path, source)) == {"image_format_mismatch": 1}
    info = convert(tmp_path, source, check_pixels=True)
    assert found_rules(info)["annotation_of_dropped_image"] == 2
    too_large = convert(tmp_path, source, max_pixels=HEIGHT * WIDTH)
    assert found_rules(too_large) == {"image_format_mismatch": 1}


def test_every_rule_is_planted_somewhere():
    planted = {rule for _, rules in PLANTS for rule in rules}
    planted |= {rule for *_, rules in OPTIONAL for rule in rules}
    elsewhere = {
        "image_too_large",  # tests/pix2seq_model/test_image_check.py
        "image_unreadable",  # below
        "image_in_several_splits",  # above
    }
    assert planted | elsewhere == set(EXPLANATIONS)
    assert set(CHANGED_IMAGES) & planted


def test_unreadable_image(tmp_path, monkeypatch):
    from components.conversion import image_store

    def read(self, path):
        if path.endswith("103.jpg"):
            raise OSError("the disk is tired")
        return original(self, path)

    original = image_store.ImageFolder.read
    monkeypatch.setattr(image_store.ImageFolder, "read", read)
    monkeypatch.setattr(image_store.time, "sleep", lambda seconds: None)
    info = convert(tmp_path, {"train": SmallDataset(6).write(tmp_path)})
    assert found_rules(info) == {"image_unreadable": 1, **GONE}
    assert "the disk is tired" in dead_letters(tmp_path)[0]["detail"]


# ---- Failures that end the job ----


def test_too_many_defects_fail_with_the_table(tmp_path):
    data = SmallDataset(10)
    plant_missing(data, 104)
    plant_box(bbox=[1, 1, 0, 5])(data, 105)
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
            {"images": "{tmp}"},
            "none of the first 4 images.*looked for as pictures/100.jpg, 100.jpg",
        ),
        ({"images": "{tmp}/bad.zip"}, "is not a zip archive"),
        ({"images": "{tmp}/x.tar.gz"}, "unpack_archives.py"),
        ({"annotations": "{tmp}/list.json"}, r"list.json begins with b'\[\]'"),
        ({"annotations": "{tmp}/empty.json"}, "empty.json is empty"),
        ({"annotations": "{tmp}/images"}, "is a folder"),
    ],
)
def test_wrong_paths_are_refused_before_the_job(tmp_path, change, message):
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
        plant_missing(data, i)
    source = {"train": data.write(tmp_path)}
    limits = DefectLimits(max_dropped_images=0.2)
    with pytest.raises(DataError, match="of the 60 images of split 'train' only 2 are in"):
        convert(tmp_path, source, limits=limits)
    assert not (tmp_path / "out/Split-train").exists()


def test_output_that_cannot_be_written(tmp_path):
    source = SmallDataset(2).write(tmp_path)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match=r"out cannot be written.*another output folder"):
        convert(tmp_path, {"train": source})


# ---- Where there are no folders ----


def test_the_whole_job_on_an_object_store(tmp_path):
    """As on gs://: images, annotations and output are objects."""
    from apache_beam.io.filesystems import FileSystems

    from tests import object_store

    data = SmallDataset(12)
    plant_missing(data, 104)
    local = convert(tmp_path, {"train": data.write(tmp_path)}, num_shards={"train": 3})
    root = f"{object_store.SCHEME}://{tmp_path.name}"
    for path in tmp_path.rglob("*"):
        if path.is_file() and "out" not in path.parts:
            with FileSystems.create(f"{root}/{path.relative_to(tmp_path)}") as file:
                file.write(path.read_bytes())
    source = SplitSource(images=f"{root}/images", annotations=f"{root}/labels.json")
    for _ in range(2):
        info = convert_dataset(
            options({"train": source}, num_shards={"train": 3}, limits=ANYTHING_GOES),
            f"{root}/out",
            make_pipeline=in_memory,
        )
        assert info.fingerprint() == local.fingerprint()
    found = FileSystems.match([f"{root}/out/**"])[0].metadata_list
    names = {file.path.removeprefix(f"{root}/out/") for file in found}
    expected = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert {name for name in expected if (tmp_path / "out" / name).is_file()} == names
    wrong = dataclasses.replace(source, images=f"{root}/nothing")
    with pytest.raises(DataError, match="folder of images of split 'train' does not exist"):
        convert_dataset(options({"train": wrong}), f"{root}/out", make_pipeline=in_memory)
