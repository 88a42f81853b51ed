"""The manifest: round trip, refusals, and readers that go by it."""

import dataclasses
import json

import pytest

from pix2seq_model.data.manifest import (
    DatasetInfo,
    ShardInfo,
    SplitInfo,
    check_shards,
    read_dataset_info,
)
from pix2seq_model.errors import DataError
from tests.fixtures.records import write_dataset_info

SHARD = "Split-train/examples-00000-of-00001.tfrecord"
INFO = DatasetInfo(
    name="demo",
    seed=3,
    categories=({"id": 2, "name": "Bakset"}, {"id": 7, "name": "é ", "source_id": "x"}),
    splits={
        "train": SplitInfo(
            num_examples=2,
            num_objects=5,
            num_bytes=4,
            shards=(ShardInfo(file=SHARD, num_examples=2, num_bytes=4, sha256="00"),),
            counts={"images": {"rows_in": 2}},
        )
    },
)


def test_round_trip(tmp_path):
    write_dataset_info(tmp_path / "new", INFO)
    assert read_dataset_info(tmp_path / "new") == INFO
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["dataset_info.json"]


def test_paths_and_names(tmp_path):
    assert INFO.shard_paths(tmp_path, "train") == [str(tmp_path / SHARD)]
    assert INFO.category_names() == {2: "Bakset", 7: "é "}
    with pytest.raises(DataError, match=r"no split 'val'; it has \['train'\]"):
        INFO.shard_paths(tmp_path, "val")


def test_fingerprint_follows_the_content():
    assert INFO.fingerprint() == dataclasses.replace(INFO).fingerprint()
    assert INFO.fingerprint() != dataclasses.replace(INFO, seed=4).fingerprint()


def test_folder_without_manifest(tmp_path):
    with pytest.raises(DataError, match=r"dataset_info.json does not exist.*convert_dataset.py"):
        read_dataset_info(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged .*line 1, column 2.*; write the records with"),
        ("[]", "it holds a list, not an object"),
        (json.dumps({**json.loads(INFO.to_json()), "schema_version": 99}), "is 99.*reads 1"),
        (json.dumps({**json.loads(INFO.to_json()), "schema_version": True}), "is True.*reads 1"),
        (json.dumps({"schema_version": 1}), "not a data set's manifest"),
    ],
)
def test_wrong_manifest_is_refused(tmp_path, content, message):
    (tmp_path / "dataset_info.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_dataset_info(tmp_path)


def _split(**values):
    return {
        "splits": {"train": dataclasses.asdict(dataclasses.replace(INFO.split("train"), **values))}
    }


def _shard(**values):
    shard = dataclasses.replace(INFO.split("train").shards[0], **values)
    return _split(shards=(shard,))


def _twice(other):
    """One file by two names."""
    first = dataclasses.replace(INFO.split("train").shards[0], file="Split-train/x")
    shards = (first, dataclasses.replace(first, file=other))
    return _split(shards=shards, num_examples=4, num_bytes=8)


def _counts(images):
    return _split(counts={"images": images})


def test_two_categories_of_one_name_and_counts_in_part_are_taken(tmp_path):
    """Annotation files have the first; other programs write the second."""
    info = dataclasses.replace(
        INFO, categories=({"id": 1, "name": "a"}, {"id": 9223372036854775807, "name": "a"})
    )
    write_dataset_info(tmp_path, info)
    assert read_dataset_info(tmp_path) == info
    assert info.split("train").applied_rules() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (_split(num_examples=3), "num_examples of split 'train' is 3, its shards hold 2"),
        (_split(num_bytes=5), "num_bytes of split 'train' is 5, its shards hold 4"),
        (_split(num_objects=-1), "num_objects or counts of split 'train' are none"),
        (_split(num_objects="5"), "num_objects or counts of split 'train' are none"),
        (_split(shards=INFO.split("train").shards * 2), f"it names the shard {SHARD} twice"),
        (_shard(file="../other.tfrecord"), "does not lie in its folder"),
        (_shard(file="Split-train/../../x"), "does not lie in its folder"),
        (_shard(file="/etc/passwd"), "does not lie in its folder"),
        (_shard(file="gs://other/x"), "does not lie in its folder"),
        (_shard(file=7), "7 is no name of a shard"),
        (_shard(num_examples=True), "are no counts"),
        (_shard(num_bytes=4.0), "are no counts"),
        (_shard(sha256=None), "is not text"),
        ({"categories": [{"id": 2, "name": "a"}, {"id": 2, "name": "b"}]}, "different whole"),
        ({"categories": [{"id": "2", "name": "a"}]}, "different whole numbers"),
        ({"categories": [{"id": 2, "name": None}]}, "name of a category is not text"),
        ({"seed": "3"}, "of a wrong type"),
        ({"seed": True}, "of a wrong type"),
        ({"splits": {"../x": _split()["splits"]["train"]}}, r"splits: '../x' is no plain word"),
        (_shard(file=""), "'' is no plain name"),
        (_shard(file="."), "'.' is no plain name"),
        (_shard(file="..\\x"), "does not lie in its folder"),
        (_shard(file="a\\x"), "is no plain name"),
        (_twice("Split-train/./x"), "'Split-train/./x' is no plain name"),
        (_twice("Split-train//x"), "'Split-train//x' is no plain name"),
        (_twice("Split-train/y/../x"), "does not lie in its folder"),
        (_shard(sha256=""), "sha256 of .* is empty"),
        ({"categories": []}, "categories: there are none"),
        ({"categories": [{"id": 0, "name": "a"}]}, "is not from 1 to 9223372036854775807"),
        ({"categories": [{"id": 10**30, "name": "a"}]}, "is not from 1 to 9223372036854775807"),
        ({"categories": [{"id": True, "name": "a"}]}, "different whole numbers"),
        ({"categories": [{"id": 1, "name": "a", "source_id": 5}]}, "source_id of the category 1"),
        (_counts(5), "counts.images of split 'train': 5 is no object"),
        (_counts({"dropped": ["a"]}), "dropped is .*, not a count for each rule"),
        (_counts({"changed": {"a": "2"}}), "changed is .*, not a count for each rule"),
        (_counts({"dropped": {"a": True}, "rows_in": 1}), "not a count for each rule"),
        (_counts({"dropped": {"a": 1}}), "dropped has rules, and there is no rows_in"),
        (_counts({"rows_in": "2"}), "rows_in is '2', no count"),
        (_counts({"rows_in": 2, "written": -1}), "written is -1, no count"),
        (
            _counts({"rows_in": 3, "written": 2, "dropped": {}}),
            "rows_in is 3, written and dropped are 2",
        ),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, changes, message):
    content = json.dumps({**json.loads(INFO.to_json()), **changes})
    (tmp_path / "dataset_info.json").write_text(content)
    with pytest.raises(DataError, match=rf"dataset_info\.json was changed .*{message}.*convert_"):
        read_dataset_info(tmp_path)


def test_check_shards(tmp_path):
    with pytest.raises(DataError, match=r"tfrecord is missing.*says 4 bytes"):
        check_shards(tmp_path, INFO)
    (tmp_path / SHARD).parent.mkdir()
    (tmp_path / SHARD).write_bytes(b"abc")
    with pytest.raises(DataError, match="has 3 bytes"):
        check_shards(tmp_path, INFO)
    (tmp_path / SHARD).write_bytes(b"abcd")
    check_shards(tmp_path, INFO)
