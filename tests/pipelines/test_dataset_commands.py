"""The commands on data: generate_demo_data, check_dataset, convert_dataset, unpack_archives."""

import tarfile

import numpy as np
import pytest

from pix2seq_model.data.annotated_split import with_annotations
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.ground_truth import read_split_truth
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.metrics.coco_metrics import evaluate_detections
from tests.fixtures.commands import run_command as run
from tests.fixtures.shared_material import SHARED, needs_shared
from tests.fixtures.small_dataset import SmallDataset

ESCAPED = r"\x1b[2J\x1b[32mno defects\x9b0m\u202e"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    counts = "--objects365_train=30", "--objects365_val=8", "--coco_train=24", "--coco_val=8"
    run("generate_demo_data", f"--output={folder}", *counts)
    again = run("generate_demo_data", f"--output={folder}", *counts)
    assert "is already there" in again.stdout
    return folder


def test_both_layouts_convert(demo, tmp_path):
    done = run(
        "convert_dataset",
        "--dataset=objects365",
        f"--images={demo}/objects365",
        f"--annotations={demo}/objects365",
        f"--output={tmp_path}/o",
        "--num_shards=train=3",
    )
    assert "train: 30 images" in done.stdout
    info = read_dataset_info(tmp_path / "o")
    assert {name: split.num_examples for name, split in info.splits.items()} == {
        "train": 30,
        "val": 8,
    }
    assert len(info.splits["train"].shards) == 3
    assert [category["id"] for category in info.categories] == [3, 7, 12, 24, 41]
    run(
        "convert_dataset",
        "--dataset=coco",
        f"--images={demo}/coco",
        f"--annotations={demo}/coco/annotations",
        f"--output={tmp_path}/c",
        "--runner=DirectRunner",
    )
    assert read_dataset_info(tmp_path / "c").splits["val"].num_examples == 8
    done = run("check_dataset", f"--examples={tmp_path}/o", "--check_pixels")
    assert "train: 30 images in 3 shards" in done.stdout
    assert done.stdout.count("as the manifest says") == 2
    # Each record is whole; the shard is that of another split.
    stray = tmp_path / "o/Split-train/examples-00001-of-00003.tfrecord"
    stray.write_bytes((tmp_path / "o/Split-val/examples-00000-of-00001.tfrecord").read_bytes())
    done = run("check_dataset", f"--examples={tmp_path}/o", status=1)
    assert "1 of the shards cannot be used" in done.stdout
    assert f"{stray} is not the shard that dataset_info.json names" in done.stdout


def test_two_processes_give_the_same_bytes(demo, tmp_path):
    """Also seen with the command's own flags: the number of workers is Beam's."""
    for name, extra in (("one", ()), ("two", ("--direct_num_workers=2",))):
        run(
            "convert_dataset",
            "--dataset=coco",
            f"--images={demo}/coco",
            f"--annotations={demo}/coco",
            f"--output={tmp_path}/{name}",
            "--num_shards=4",
            *extra,
        )
    fingerprints = {read_dataset_info(tmp_path / n).fingerprint() for n in ("one", "two")}
    assert len(fingerprints) == 1


@needs_shared
def test_real_coco_sample(tmp_path):
    sample = SHARED / "coco_sample"
    run(
        "convert_dataset",
        "--dataset=coco",
        f"--images={sample}/images",
        f"--annotations={sample}/annotations",
        f"--output={tmp_path}",
        "--check_pixels",
    )
    info = read_dataset_info(tmp_path)
    train, val = info.splits["train"], info.splits["val"]
    assert (train.num_examples, train.num_objects) == (32, 288)
    assert (val.num_examples, val.num_objects) == (6, 136)
    assert len(info.categories) == 80
    for split in (train, val):
        for kind in split.counts.values():
            assert kind["dropped"] == {}
    # The records hold the annotation file's truth: whatever is found counts the same by both.
    for name in ("train", "val"):
        path = f"{sample}/annotations/instances_{name}2017.json"
        truth = read_split_truth(tmp_path, name)
        file = with_annotations(truth, read_annotation_file(path)).coco
        assert len(file["annotations"]) == len(truth.coco["annotations"])
        found, rng = [], np.random.default_rng(0)
        for row in file["annotations"]:
            box = np.array(row["bbox"])
            box += rng.normal(0, 0.1, 4) * np.tile(box[2:], 2)
            place = {key: row[key] for key in ("image_id", "category_id")}
            found.append({**place, "bbox": np.abs(box).tolist(), "score": rng.random()})
        by_file, by_records = (evaluate_detections(t, found).metrics for t in (file, truth.coco))
        assert by_records == pytest.approx(by_file, abs=1e-12)
        assert 0.2 < by_file["AP"] < 0.9


def test_check_dataset(tmp_path):
    data = SmallDataset(20)
    data.boxes(103)[0]["bbox"] = [1, 1, 0, 5]
    del data.files["pictures/104.jpg"], data.files["pictures/105.jpg"]
    data.write(tmp_path)
    arguments = (
        "--dataset=coco_format",
        f"--images={tmp_path}/images",
        f"--annotations={tmp_path}/labels.json",
    )
    done = run("check_dataset", *arguments, f"--report={tmp_path}/report", status=1)
    assert "2 dropped image_missing" in done.stdout
    assert "image_missing: train image 104: pictures/104.jpg" in done.stdout
    assert "train: 35 boxes" in done.stdout
    assert "a conversion would fail:\ntrain: 2 of 20 images dropped (10.00%)" in done.stdout
    assert not list((tmp_path / "report").rglob("*.tfrecord"))
    assert (tmp_path / "report/dead_letter/train-00000-of-00001.jsonl").read_text().count("\n") == 7
    tolerant = run("check_dataset", *arguments, "--max_dropped_images=0.1")
    assert "would fail" not in tolerant.stdout


def test_names_that_command_a_terminal_are_written_out(tmp_path):
    data = SmallDataset()
    hostile = "\x1b[2J\x1b[32mno defects\x9b0m\u202e"
    data.image(101)["file_name"] = f"pictures/{hostile}.jpg"
    data.write(tmp_path)
    done = run(
        "check_dataset",
        f"--images={tmp_path}/images",
        f"--annotations={tmp_path}/labels.json",
        status=1,
    )
    assert f"pictures/{ESCAPED}.jpg" in done.stdout
    assert not set("\x1b\x9b\u202e") & set(done.stdout + done.stderr)


def test_check_dataset_tells_most_when_nothing_is_left(tmp_path):
    data = SmallDataset(3)
    data.files = dict.fromkeys(data.files, b"version https://git-lfs.github.com/spec/v1")
    data.content["images"] += data.content["images"]
    data.content["categories"] = [{"id": 2**40, "name": "ring"}, {"id": 9, "name": "Ring"}]
    data.write(tmp_path)
    done = run(
        "check_dataset",
        "--dataset=coco_format",
        f"--images={tmp_path}/images",
        f"--annotations={tmp_path}/labels.json",
        status=1,
    )
    assert "3 dropped image_not_decodable" in done.stdout
    assert done.stdout.count("is a Git LFS pointer, not the file itself") == 3
    assert "warning: train: 3 of 6 rows of 'images' repeat an image" in done.stdout
    assert f"warning: categories 9, {2**40} are all called 'ring'" in done.stdout
    assert "2 categories, the highest id is 2\n  renumbered" in done.stdout
    assert "train: nothing is left to learn" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--images": ""}, "--images is missing: give the folder"),
        ({"--images": "/nowhere"}, "folder of images of split 'train' does not exist: /nowhere"),
        ({"--annotations": "/nowhere/x.json"}, "annotation file of split 'train' does not exist"),
        ({"--annotations": "{tmp}"}, "is not a JSON file; with --dataset=coco_format name"),
        ({"--dataset": "coco", "--annotations": "{tmp}"}, "no annotation file of coco: looked for"),
        ({"--images": "train=a,b"}, """double quotes of its own, --images='"a,b"'"""),
        ({"--images": "val=a"}, "--images says nothing of split 'train'"),
        ({"--num_shards": "many"}, "--num_shards=many: not numbers"),
        ({"--num_shards": "test=3"}, "num_shards names split 'test'"),
        ({"--max_by_rule": "box_odd=0.1"}, "no rule 'box_odd'"),
        ({"--datset": "coco"}, "did you mean --dataset?"),
        ({"--dataset": "pascal"}, "--dataset=pascal"),
        ({"--dataset": "voc"}, "no labels that are known (Pascal VOC)"),
        ({"--output": "/proc/nothing"}, "/proc/nothing cannot be written"),
    ],
)
def test_wrong_flags_are_explained(tmp_path, change, message):
    SmallDataset(2).write(tmp_path)
    arguments = {
        "--dataset": "coco_format",
        "--images": f"{tmp_path}/images",
        "--annotations": f"{tmp_path}/labels.json",
        "--output": f"{tmp_path}/out",
        **{name: value.format(tmp=tmp_path) for name, value in change.items()},
    }
    done = run("convert_dataset", *(f"{k}={v}" for k, v in arguments.items()), status=2)
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_a_second_unpacking_into_one_folder_is_refused(tmp_path):
    """It would read the report of the first at its end, and remove the files in the making."""
    (tmp_path / "a.jpg").write_bytes(b"abc")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.jpg", "a.jpg")
    flags = f"--archives={tmp_path}/*.tar", f"--output={tmp_path}/out"
    with FolderLock(tmp_path / "out", holder="unpacking"):
        done = run("unpack_archives", *flags, status=2)
    assert "is in use by another unpacking" in done.stderr
    assert "name another output folder" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
