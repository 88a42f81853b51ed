"""What the comparison of checksums costs: a first epoch with and without it, and a conversion.

    python benchmarks/verification.py --coco=../shared/coco_sample --images=1000

Repeats the photographs of a folder in COCO's layout under new ids into records and reads them once,
as the first epoch of a training does that waits for nothing else: with the shards compared with the
manifest as they are first read, and without, by turns in the same run. The conversion's share is
the processor time that the CRC-32C of its shards takes, of that of the whole command on as many
photographs, and of what writing the records takes at least: reading the files, their SHA-256 and
encoding. Leave the machine alone meanwhile.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.convert import commands, repeat_sample, timed
from benchmarks.input import write_records
from pix2seq_model.data import shard_check
from pix2seq_model.data.manifest import read_dataset_info
from pix2seq_model.input_pipeline import record_stream
from pix2seq_model.input_pipeline.datasets import training_dataset
from pix2seq_model.input_pipeline.settings import Augmentation
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures.records import forget_checked_shards

_BATCH_SIZE = 25


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coco", type=Path, default=Path("../shared/coco_sample"))
    parser.add_argument("--split", default="train2017")
    parser.add_argument("--images", type=int, default=1000, help="records to write")
    parser.add_argument("--image_size", type=int, default=640, help="pixels")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    times: dict[str, list[float]] = {"with": [], "without": []}
    cpu: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.process_time()
        num_bytes = write_records(folder, given.coco, given.split, given.images)
        writing = time.process_time() - begin
        contents = [path.read_bytes() for path in folder.glob("Split-train/*")]
        begin = time.process_time()
        for content in contents:
            shard_check.Digests(fast_only=True).update(content)
        crc = time.process_time() - begin
        begin = time.process_time()
        info = read_dataset_info(folder)
        for path, shard in zip(info.shard_paths(folder, "train"), info.split("train").shards):
            shard_check.check_shard(path, shard, info.category_names())
        alone = time.process_time() - begin
        converting = _conversion(folder / "whole", given.coco, given.images)
        for _, way in itertools.product(range(given.rounds), times):
            wall, used = _epoch(folder, given.images, given.image_size, check=way == "with")
            times[way].append(wall)
            cpu[way].append(used)
            print(f"{way:<8} {wall:7.2f} s {used:7.2f} s of CPU", flush=True)
    report = {
        "images": given.images,
        "megabytes": round(num_bytes / 1e6),
        "cpus": os.cpu_count(),
        "first_epoch_cpu_ratio": round(_ratio(cpu), 4),
        "first_epoch_wall_ratio": round(_ratio(times), 4),
        # Less is lost in the noise of the rounds.
        "check_alone_cpu_ratio": round(1 + alone / min(cpu["without"]), 4),
        "conversion_cpu_ratio": round(1 + crc / (converting - crc), 4),
        "record_writing_cpu_ratio": round(1 + crc / (writing - crc), 4),
    }
    print(json.dumps(report))
    return 0


def _conversion(folder: Path, coco: Path, num_images: int) -> float:
    """CPU seconds of the command, and of all its processes."""
    repeat_sample(coco, folder, num_images)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    timed(commands(folder, num_shards=8)["convert_dataset"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ratio(seconds: dict[str, list[float]]) -> float:
    """The median of the rounds' own ratios."""
    return statistics.median(w / o for w, o in zip(seconds["with"], seconds["without"]))


def _epoch(folder: Path, num_images: int, size: int, *, check: bool) -> tuple[float, float]:
    """Wall and CPU seconds of one pass in a process that has not seen the shards yet."""
    forget_checked_shards()
    unchecked = mock.patch.object(record_stream, "check_shard_once", return_value=None)
    dataset = training_dataset(
        folder,
        split="train",
        vocabulary=Vocabulary(),
        image_size=(size, size),
        batch_size=_BATCH_SIZE,
        seed=0,
        augmentation=Augmentation(),
        sequence=SequenceSettings(),
        shuffle_buffer=256,
    )
    begin = time.monotonic(), time.process_time()
    if check:
        _read(dataset, num_images // _BATCH_SIZE)
    else:
        with unchecked:
            _read(dataset, num_images // _BATCH_SIZE)
    return time.monotonic() - begin[0], time.process_time() - begin[1]


def _read(dataset, number: int) -> None:
    for _ in dataset.take(number):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
