"""Seconds and bytes of the conversion on a Flink cluster of two task managers on this machine.

    python tests/runners/install.py --output=build/runners
    python benchmarks/flink_cluster.py --images=20000

Converts a data set like Objects365's from a seed by the whole command, on the DirectRunner with two
workers and on the cluster, in one go, and compares every record. The cluster is started before and
not counted; the submission of the job is.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.objects365_like import write_dataset
from tests.runners.flink_cluster import flink_cluster
from tests.runners.install import FOUND_FILE

_ROOT = Path(__file__).resolve().parents[1]


def convert(folder: Path, name: str, beam_arguments: Sequence[str]) -> tuple[float, str]:
    """Converts the data set in `folder`; returns the seconds and a digest of all records."""
    output = folder / name
    command = [
        *(sys.executable, str(_ROOT / "pipelines/convert_dataset.py")),
        *("--dataset=objects365", f"--images={folder}", f"--annotations={folder}"),
        *(f"--output={output}", "--shard_megabytes=0.5", "--nodata_report", *beam_arguments),
    ]
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    digest = hashlib.sha256()
    for path in sorted(output.rglob("*.tfrecord")):
        digest.update(f"{path.relative_to(output)} ".encode() + path.read_bytes())
    return seconds, digest.hexdigest()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--boxes_per_image", type=float, default=15)
    parser.add_argument("--runners", type=Path, default=_ROOT / "build" / "runners")
    given = parser.parse_args(arguments)
    runner = json.loads((given.runners / FOUND_FILE).read_text())["flink"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_boxes = round(given.images * given.boxes_per_image)
        write_dataset(folder, num_images=given.images, num_boxes=num_boxes)
        direct, expected = convert(
            folder, "direct", ["--runner=DirectRunner", "--direct_num_workers=2"]
        )
        print(f"DirectRunner, two workers: {direct:.0f} s", flush=True)
        with flink_cluster(runner, folder / "cluster") as cluster:
            print(" ".join(cluster.beam_arguments))
            seconds, found = convert(folder, "flink", cluster.beam_arguments)
            records = cluster.records_by_task_manager()
    print(f"Flink, two task managers: {seconds:.0f} s, {given.images / seconds:.0f} images/s")
    print(f"elements read by each task manager: {sorted(records.values())}")
    print("the records are", "the same, byte for byte" if found == expected else "DIFFERENT")
    return int(found != expected)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
