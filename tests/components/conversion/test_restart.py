"""Killed and started again: the same result, finished shards kept, nothing stray left or read."""

import hashlib
import io
import os
import signal
import time

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion.convert import convert_dataset
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.data.tfrecord import frame_record, read_records
from pix2seq_model.errors import FolderInUseError
from pix2seq_model.folder_lock import FolderLock
from tests.fixtures.commands import PROCESSES
from tests.fixtures.small_dataset import SmallDataset, image_bytes, options

NUM_SHARDS = 16
NUM_IMAGES = 160


def convert(source, output):
    return convert_dataset(
        options({"train": source}, num_shards={"train": NUM_SHARDS}),
        str(output),
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )


def content(output):
    """Every file but the notes for reruns: path to digest."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in output.rglob("*")
        if path.is_file() and path.parent.name != "progress"
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data set with a defect, and its conversion without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    data = SmallDataset(NUM_IMAGES)
    del data.files["pictures/117.jpg"]
    source = data.write(folder)
    convert(source, folder / "out")
    return source, folder / "out"


def finished_shards(output):
    return {path.name for path in output.glob("progress/train-*-of-*.json")}


def kill_when(source, output, condition):
    child = PROCESSES.Process(target=convert, args=(source, output))
    child.start()
    deadline = time.monotonic() + 120
    while child.is_alive() and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child.exitcode


def test_three_kills(whole, tmp_path):
    source, expected = whole
    output = tmp_path / "out"
    kept: dict[str, int] = {}
    moments = [
        lambda: (output / "progress/plan.json").exists(),
        lambda: len(finished_shards(output)) >= 3,
        lambda: len(finished_shards(output)) >= 9,
    ]
    for condition in moments:
        assert kill_when(source, output, condition) == -signal.SIGKILL
        assert not (output / "dataset_info.json").exists()
        for shard, modified in kept.items():
            assert (output / "Split-train" / shard).stat().st_mtime_ns == modified
        kept = {
            name: (output / "Split-train" / name).stat().st_mtime_ns
            for name in (
                f"examples-{note[6:20]}.tfrecord" for note in sorted(finished_shards(output))
            )
        }
    assert len(kept) >= 9
    (output / "Split-train/examples-00000-of-00003.tfrecord").write_bytes(b"stray")
    (output / "progress/tmp-1234").write_bytes(b"half")
    convert(source, output)
    for shard, modified in kept.items():
        assert (output / "Split-train" / shard).stat().st_mtime_ns == modified
    assert content(output) == content(expected)
    assert not list(output.glob("progress/tmp-*"))


def rewritten(output, change):
    """Names of the shards that a second run writes again after `change`."""
    before = {p.name: p.stat().st_mtime_ns for p in output.glob("Split-train/*")}
    source = change()
    convert(source, output)
    after = {p.name: p.stat().st_mtime_ns for p in output.glob("Split-train/*")}
    return {name for name, modified in after.items() if before.get(name) != modified}


def test_what_a_rerun_writes_again(tmp_path):
    data = SmallDataset(NUM_IMAGES)
    source, output = data.write(tmp_path), tmp_path / "out"
    convert(source, output)
    fingerprint = read_dataset_info(output).fingerprint()
    assert rewritten(output, lambda: source) == set()

    def fix_an_image():
        (tmp_path / "images/pictures/120.jpg").write_bytes(image_bytes(7))
        return source

    assert len(rewritten(output, fix_an_image)) == 1
    assert read_dataset_info(output).fingerprint() != fingerprint

    def move_a_box():
        data.files["pictures/120.jpg"] = image_bytes(7)
        data.boxes(130)[0]["bbox"] = [1, 1, 3, 3]
        (tmp_path / "labels.json").unlink()
        return data.write(tmp_path / "moved")

    again = rewritten(output, move_a_box)
    assert len(again) >= 1

    moved = data.write(tmp_path / "moved")

    def lose_a_shard():
        (output / "Split-train/examples-00002-of-00016.tfrecord").write_bytes(b"short")
        return moved

    assert "examples-00002-of-00016.tfrecord" in rewritten(output, lose_a_shard)

    def damage_a_shard():
        """It keeps its size, and every record of it its own checksum."""
        path = output / "Split-train/examples-00003-of-00016.tfrecord"
        records = [*read_records(io.BytesIO(path.read_bytes()), name="")]
        path.write_bytes(b"".join(map(frame_record, reversed(records))))
        return moved

    before = content(output)
    assert rewritten(output, damage_a_shard) == {"examples-00003-of-00016.tfrecord"}
    assert content(output) == before


def test_defects_that_were_mended_leave_nothing(tmp_path):
    data = SmallDataset(NUM_IMAGES)
    good = data.files.pop("pictures/117.jpg")
    source, output = data.write(tmp_path), tmp_path / "out"
    convert(source, output)
    assert len(list(output.glob("dead_letter/*"))) == 1
    (tmp_path / "images/pictures/117.jpg").write_bytes(good)
    convert(source, output)
    convert(source, tmp_path / "fresh")
    assert content(output) == content(tmp_path / "fresh")
    assert list(output.glob("dead_letter/*")) == []


def test_a_second_conversion_into_one_output_is_refused(whole, tmp_path):
    source, _ = whole
    refused = pytest.raises(FolderInUseError, match=r"another conversion .*name another output")
    with FolderLock(tmp_path / "out", holder="conversion"), refused:
        convert(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_conversion_leaves_no_lock(whole):
    assert list(whole[1].rglob("*.lock")) == []
