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
    write_dataset_info,
)
from pix2seq_model.errors import DataError

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
        ("{", "is not JSON"),
        ("[]", "not a data set's manifest"),
        (json.dumps({**json.loads(INFO.to_json()), "schema_version": 99}), "is 99.*reads 1"),
        (json.dumps({"schema_version": 1}), "not a data set's manifest"),
    ],
)
def test_wrong_manifest_is_refused(tmp_path, content, message):
    (tmp_path / "dataset_info.json").write_text(content)
    with pytest.raises(DataError, match=message):
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
