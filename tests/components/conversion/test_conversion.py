"""The conversion job: the same bytes from the same seed, from every source."""

import collections
import dataclasses
import tarfile
import threading
import zipfile

import pytest

from components.conversion.convert import convert_dataset
from components.conversion.options import SplitSource
from components.conversion.unpack_archives import UnpackArchives, check_unpacked, find_archives
from components.storage import image_store
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.errors import DataError
from tests.fixtures.served_bucket import served_bucket
from tests.fixtures.small_conversion import (
    ANYTHING_GOES,
    convert,
    dead_letters,
    found_rules,
    in_memory,
    read_split,
)
from tests.fixtures.small_dataset import HEIGHT, WIDTH, SmallDataset, options


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


def test_a_runner_shows_the_counts_also_of_shards_that_were_kept(tmp_path):
    data = SmallDataset()
    del data.files["pictures/103.jpg"]
    sources = {"train": data.write(tmp_path)}
    pipelines = []

    def make_pipeline():
        pipelines.append(in_memory())
        return pipelines[-1]

    for _ in range(2):
        info = convert_dataset(
            options(sources, num_shards={"train": 3}, limits=ANYTHING_GOES),
            str(tmp_path / "out"),
            make_pipeline=make_pipeline,
        )
        found = pipelines[-1].result.metrics().query()["counters"]
        counters = {
            c.key.metric.name: c.result for c in found if c.key.metric.namespace == "conversion"
        }
        split = info.splits["train"]
        assert counters == {
            "images": split.num_examples,
            "objects": split.num_objects,
            "bytes": split.num_bytes,
            "images_dropped_image_missing": 1,
            "objects_dropped_annotation_of_dropped_image": 2,
        }


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
    others = ("Split-mine/notes.txt", "dead_letter/mine.jsonl", "progress/mine.json")
    for name in others:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("mine")
    convert(tmp_path, source, num_shards={"train": 5})
    assert all((tmp_path / "out" / name).read_text() == "mine" for name in others)
    assert list(read_split(tmp_path)) == list(three)
    files = sorted(path.name for path in (tmp_path / "out/Split-train").iterdir())
    assert files == [f"examples-{i:05d}-of-00005.tfrecord" for i in range(5)]


def test_more_shards_than_images_gives_empty_shards(tmp_path):
    info = convert(tmp_path, {"train": SmallDataset(2).write(tmp_path)}, num_shards={"train": 9})
    assert len(info.splits["train"].shards) == 9
    assert len(read_split(tmp_path)) == 2


def test_several_images_are_read_at_a_time(tmp_path, monkeypatch):
    """Four reads wait for one another: one after the other they would wait forever."""
    original, together = image_store.ImageFolder.read, threading.Barrier(4, timeout=60)

    def read(self, path):
        together.wait()
        return original(self, path)

    monkeypatch.setattr(image_store.ImageFolder, "read", read)
    info = convert(tmp_path, {"train": SmallDataset(12).write(tmp_path)}, num_shards={"train": 1})
    assert info.splits["train"].num_examples == 12


def test_shards_are_near_the_wanted_size(tmp_path):
    data = SmallDataset(40)
    total = sum(map(len, data.files.values()))
    info = convert(tmp_path, {"train": data.write(tmp_path)}, shard_bytes=total // 4)
    assert len(info.splits["train"].shards) == 4


def objects365_like(num_images):
    """File names as in Objects365's JSON."""
    data = SmallDataset(num_images)
    names = {
        row["file_name"]: f"images/v1/patch{row['id'] % 3}/objects365_v1_{row['id']:08d}.jpg"
        for row in data.content["images"]
    }
    for row in data.content["images"]:
        row["file_name"] = names[row["file_name"]]
    data.files = {names[name]: content for name, content in data.files.items()}
    return data


LAYOUTS = {
    "patchN": lambda name: name.removeprefix("images/v1/"),
    "flat": lambda name: name.rpartition("/")[2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_objects365_gives_the_same_records(tmp_path, layout):
    data = objects365_like(9)
    as_in_the_json = convert(tmp_path, {"train": data.write(tmp_path)})
    data.files = {LAYOUTS[layout](name): content for name, content in data.files.items()}
    other = convert(tmp_path / "2", {"train": data.write(tmp_path / "2")})
    assert other.fingerprint() == as_in_the_json.fingerprint()


def test_unpacked_patches_give_the_same_records(tmp_path):
    data = objects365_like(9)
    source = data.write(tmp_path)
    expected = convert(tmp_path, {"train": source})
    for patch in range(3):
        with tarfile.open(tmp_path / f"patch{patch}.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / f"images/images/v1/patch{patch}", arcname=f"patch{patch}")
    with in_memory() as pipeline:
        archives = find_archives(f"{tmp_path}/patch*.tar.gz")
        _ = pipeline | UnpackArchives(archives, output=str(tmp_path / "unpacked"))
    assert check_unpacked(str(tmp_path / "unpacked")) == 9
    unpacked = dataclasses.replace(source, images=str(tmp_path / "unpacked"))
    assert convert(tmp_path / "2", {"train": unpacked}).fingerprint() == expected.fingerprint()


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


def test_the_whole_job_in_a_bucket(tmp_path, monkeypatch):
    """The same bytes as on a disk; the images are listed once, and each is read by one request."""
    data = SmallDataset(12)
    data.image(103)["file_name"] = "C:\\Pictures\\103.JPG"
    data.files["notes.txt"] = b""
    del data.files["pictures/104.jpg"]
    local = convert(tmp_path, {"train": data.write(tmp_path)}, num_shards={"train": 3})
    with served_bucket(monkeypatch) as store:
        for path in tmp_path.rglob("*"):
            if path.is_file() and "out" not in path.parts:
                store.put(f"data/{path.relative_to(tmp_path)}", path.read_bytes())
        source = SplitSource(images="gs://data/images", annotations="gs://data/labels.json")
        asked = []
        for _ in range(2):
            store.asked.clear()
            of_images = collections.Counter()
            store.refuses = lambda kind, name: (
                of_images.update(  # noqa: B023
                    [kind] if name.startswith("data/images") else []
                )
                or 0
            )
            info = convert_dataset(
                options({"train": source}, num_shards={"train": 3}, limits=ANYTHING_GOES),
                "gs://data/out",
                make_pipeline=in_memory,
            )
            assert info.fingerprint() == local.fingerprint()
            asked.append(of_images)
        # The first image is looked up before the job; whether the folder is there, too.
        assert asked[0] == {"list": 3, "metadata": 2, "read": 11}
        assert not asked[1]["read"], "what is finished is kept"
        written = {name.removeprefix("data/out/"): c for name, c in store.objects.items()}
    for name in ("dead_letter", "Split-train", "dataset_info.json", "statistics.json"):
        for path in (tmp_path / "out").rglob(f"{name}*"):
            for file in [path] if path.is_file() else path.iterdir():
                assert written[str(file.relative_to(tmp_path / "out"))] == file.read_bytes()
    assert not [name for name in written if "tmp-" in name]


def test_the_whole_job_on_an_object_store(tmp_path):
    """As on gs://: images, annotations and output are objects."""
    from apache_beam.io.filesystems import FileSystems

    from tests.fixtures import object_store

    data = SmallDataset(12)
    del data.files["pictures/104.jpg"]
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
