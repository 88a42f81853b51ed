"""Shards that are not what the manifest says, wherever they are read."""

import dataclasses
import json

import pytest

from pix2seq_model.data import shard_check
from pix2seq_model.data.damage import reading_errors_named
from pix2seq_model.data.ground_truth import read_split_truth
from pix2seq_model.data.manifest import (
    DatasetInfo,
    ShardInfo,
    SplitInfo,
    read_dataset_info,
)
from pix2seq_model.data.shard_check import (
    Digests,
    check_shard,
    check_shard_once,
    folder_problems,
    known_problem,
)
from pix2seq_model.errors import DataError, UnavailableError
from pix2seq_model.input_pipeline.record_stream import training_stream
from tests.fixtures.records import (
    example,
    forget_checked_shards,
    write_dataset_info,
    write_examples,
)

BOX = (0.1, 0.1, 0.8, 0.8)
LABELS = (1, 3, 7)


@pytest.fixture
def folder(tmp_path):
    return write_examples(tmp_path / "examples", [example(str(n), [(BOX, 1)]) for n in range(4)])


def with_crc(folder):
    """The manifest as a conversion writes it, with the faster checksum too."""
    info = read_dataset_info(folder)
    split = info.split("train")
    shards = []
    for shard in split.shards:
        digests = Digests()
        digests.update((folder / shard.file).read_bytes())
        shards.append(dataclasses.replace(shard, **digests.values()))
    split = dataclasses.replace(split, shards=tuple(shards))
    write_dataset_info(folder, dataclasses.replace(info, splits={"train": split}))


def swap_shards(folder):
    """Both are whole, of one size, and have as many records; the manifest is that of before."""
    first, second = sorted(folder.glob("Split-train/*"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def relabel(folder):
    """The label of the records is none of the manifest's any more."""
    path = folder / "dataset_info.json"
    manifest = json.loads(path.read_text())
    manifest["categories"] = [row for row in manifest["categories"] if row["id"] != 1]
    path.write_text(json.dumps(manifest))


def remove_one(folder):
    (folder / "Split-train/examples-00001-of-00002.tfrecord").unlink()


def read_for_training(folder):
    with reading_errors_named(folder, "train"):
        stream = training_stream(folder, split="train", seed=0, batch_size=2, shuffle_buffer=4)
        return [record for _, record in stream.take(4).as_numpy_iterator()]


def read_for_evaluation(folder):
    return read_split_truth(folder, "train")


@pytest.mark.parametrize("read", [read_for_training, read_for_evaluation])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_shards, "is not the shard that dataset_info.json names: its sha256 is"),
        (relabel, "the label 1(,| is) .*none of the"),
        (remove_one, "examples-00001-of-00002.tfrecord is missing"),
    ],
)
def test_a_folder_that_was_changed_is_refused(folder, read, change, message):
    read(folder)
    change(folder)
    with pytest.raises(DataError, match=message):
        read(folder)


def test_the_faster_checksum_is_compared_where_there_is_one(folder):
    with_crc(folder)
    assert read_for_training(folder)
    swap_shards(folder)
    with pytest.raises(DataError, match="its crc32c is"):
        read_for_training(folder)
    info = read_dataset_info(folder)
    (first, *_), (shard, *_) = info.shard_paths(folder, "train"), info.split("train").shards
    forged = Digests()
    forged.update((folder / shard.file).read_bytes())
    shard = dataclasses.replace(shard, crc32c=forged.values()["crc32c"])
    check_shard(first, shard, LABELS)
    with pytest.raises(DataError, match="its sha256 is"):
        check_shard(first, shard, LABELS, thorough=True)


def test_the_manifest_of_an_earlier_version_keeps_its_fingerprint(folder):
    before = read_dataset_info(folder).fingerprint()
    assert "crc32c" not in (folder / "dataset_info.json").read_text()
    with_crc(folder)
    assert read_dataset_info(folder).fingerprint() != before


def test_a_shard_is_read_once_as_long_as_it_is_the_same(folder, monkeypatch):
    info = read_dataset_info(folder)
    (path, *_), (shard, *_) = info.shard_paths(folder, "train"), info.split("train").shards
    read, original = [], shard_check.check_shard
    monkeypatch.setattr(shard_check, "check_shard", lambda *a: read.append(a) or original(*a))
    for _ in range(2):
        check_shard_once(path, shard, LABELS)
    assert len(read) == 1
    check_shard_once(path, shard, [*LABELS, 9])
    content = (folder / shard.file).read_bytes()
    (folder / shard.file).write_bytes(content[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(DataError, match=r"damaged at byte \d+"):
            check_shard_once(path, shard, LABELS)
    assert len(read) == 3
    assert "damaged at byte" in known_problem([path])
    (folder / shard.file).write_bytes(content)
    check_shard_once(path, shard, LABELS)
    assert known_problem([path]) == ""
    assert known_problem(["elsewhere"]) == ""


def test_what_is_wrong_with_a_folder(folder):
    with_crc(folder)
    assert folder_problems(folder, read_dataset_info(folder), "train") == []
    remove_one(folder)
    info = read_dataset_info(folder)
    (problem,) = folder_problems(folder, info, "train")
    assert "examples-00001-of-00002.tfrecord is missing; convert" in problem
    odd, missing = folder_problems(folder, info, "train", damage=lambda record: "it is odd")
    assert "record 0: it is odd; convert" in odd
    assert missing == problem


def test_what_is_no_record_of_ours(tmp_path):
    folder = write_examples(tmp_path, [b"\xff"], num_shards=1)
    (problem,) = folder_problems(folder, read_dataset_info(folder), "train")
    assert "record 0: no example of this schema" in problem


def test_the_number_of_records(folder):
    info = read_dataset_info(folder)
    (path, *_), (shard, *_) = info.shard_paths(folder, "train"), info.split("train").shards
    with pytest.raises(DataError, match=r"has 2 records, .* says 3"):
        check_shard(path, dataclasses.replace(shard, num_examples=3), LABELS)


def test_in_a_bucket_the_store_is_asked_instead(folder, monkeypatch):
    info = read_dataset_info(folder)
    (shard, *_) = info.split("train").shards
    shard = dataclasses.replace(shard, crc32c="AAAAAA==")
    read, answers = [], {"gs://b/same": "AAAAAA==", "gs://b/other": "BBBBBB=="}
    monkeypatch.setattr(shard_check, "check_shard", lambda path, *_: read.append(path))
    monkeypatch.setattr(shard_check, "_state", lambda path: (1.0,))
    monkeypatch.setattr(shard_check.bucket_file, "crc32c_of", lambda path: answers[path])
    forget_checked_shards()
    for path in answers:
        shard_check.check_shard_once(path, shard, (), is_counted=True)
    assert read == ["gs://b/other"]
    # The checksum says nothing of categories that were taken out of the manifest.
    forget_checked_shards()
    shard_check.check_shard_once("gs://b/same", shard, ())
    assert read.pop() == "gs://b/same"

    def refused(path):
        raise OSError("no answer")

    monkeypatch.setattr(shard_check.bucket_file, "crc32c_of", refused)
    shard_check.check_shard_once("gs://b/third", shard, (), is_counted=True)
    assert read[1:] == ["gs://b/third"]
    forget_checked_shards()


def test_a_finished_folder_in_a_bucket_is_compared_by_stored_checksums(monkeypatch):
    shards = tuple(
        ShardInfo(file=f"Split-train/{n}", num_examples=1, num_bytes=1, sha256="", crc32c=f"c{n}")
        for n in range(3)
    )
    split = SplitInfo(num_examples=3, num_objects=0, num_bytes=3, shards=shards, counts={})
    info = DatasetInfo(name="x", seed=0, categories=(), splits={"train": split})
    stored = {f"gs://b/x/Split-train/{n}": f"c{n}" for n in range(3)}
    asked = []

    def below(folder):
        asked.append(folder)
        return stored

    monkeypatch.setattr(shard_check.bucket_file, "crc32c_below", below)
    shard_check.check_stored("gs://b/x", info)
    assert asked == ["gs://b/x/Split-train"]
    stored["gs://b/x/Split-train/1"] = "other"
    with pytest.raises(DataError, match=r"Split-train/1 is not the shard .*is other.*says c1"):
        shard_check.check_stored("gs://b/x", info)
    del stored["gs://b/x/Split-train/1"]
    with pytest.raises(DataError, match="it is missing"):
        shard_check.check_stored("gs://b/x", info)

    def fails(error):
        def below(folder):
            raise error

        monkeypatch.setattr(shard_check.bucket_file, "crc32c_below", below)

    fails(OSError("no answer"))
    with pytest.raises(UnavailableError, match=r"x/Split-train: .*no answer.*same command again"):
        shard_check.check_stored("gs://b/x", info)
    fails(ImportError("google.cloud"))
    shard_check.check_stored("gs://b/x", info)
    shard_check.check_stored("/local/x", info)


def test_counted_classes_that_are_no_categories_are_refused(tmp_path):
    categories = ({"id": 1, "name": "a"}, {"id": 2, "name": "b"})
    info = DatasetInfo(name="x", seed=0, categories=categories, splits={})
    assert not shard_check.check_counted_labels(tmp_path, info, "train")  # Nobody has counted.
    path = tmp_path / "statistics.json"
    path.write_text('{"train": {"images_with_class": {"1": 3, "2": 1}}}')
    assert shard_check.check_counted_labels(tmp_path, info, "train")
    path.write_text('{"train": {"images_with_class": {"1": 3, "7": 1}}}')
    with pytest.raises(DataError, match=r"'train' has objects of the label 7, which is none of"):
        shard_check.check_counted_labels(tmp_path, info, "train")
