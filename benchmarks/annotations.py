"""Memory and time of the conversion's work on annotations, and what all of Objects365 would take.

    python benchmarks/annotations.py --images=100000,200000 --boxes_per_image=15

For each size: a data set like Objects365's from a seed, converted by the whole command on the
DirectRunner with two workers. All its processes are watched: the peak of their sum, and each one's
own. What grows with the data must be the runner's own shuffle and nothing else. From two sizes
follow the slope and the seconds per million boxes, and from these what is not run here.
`--before=FOLDER` converts the same data by other code too, a checkout of an earlier commit; what
that imports and this environment lacks is found by PYTHONPATH. Leave the machine alone meanwhile.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.objects365_like import write_dataset

_ROOT = Path(__file__).resolve().parents[1]
_SECONDS_BETWEEN_LOOKS = 0.1
_MEGABYTE = 1e6

# Objects365 v2.
_ALL_IMAGES = 1_742_289 + 80_000
_ALL_BOXES = 30_000_000
_ALL_GIGABYTES = 367
# Dataflow batch list prices of us-central1, US dollars; look them up before relying on them.
_VCPU_HOUR, _GIGABYTE_HOUR, _SHUFFLE_GIGABYTE = 0.056, 0.003557, 0.011
_DATAFLOW_WORKERS, _VCPUS, _GIGABYTES = 32, 4, 15
# Of a worker's core: reading, checking and writing records, from benchmarks/convert.py with one
# core's share; on gs:// the network's share is not less.
_MEGABYTES_PER_CORE_SECOND = 20.0


@dataclasses.dataclass(frozen=True)
class Measured:
    """One size.

    Attributes:
      num_boxes: rows of annotations.
      seconds: of the whole command.
      cpu_seconds: of all its processes.
      peak: megabytes, the largest sum over all processes at one time.
      launcher, workers: megabytes, the peak of the process that holds the runner, of each other.
    """

    num_boxes: int
    seconds: float
    cpu_seconds: float
    peak: float
    launcher: float
    workers: tuple[float, ...]


class MemoryWatch(threading.Thread):
    """Samples the memory and the CPU time of a process and its children until it ends."""

    def __init__(self, process: psutil.Process):
        super().__init__(daemon=True)
        self._root = process
        self.peak = 0.0
        self.peaks: dict[int, float] = {}
        self.cpu_seconds: dict[int, float] = {}

    def run(self) -> None:
        while self._root.is_running() and self._root.status() != psutil.STATUS_ZOMBIE:
            total = 0.0
            for process in (self._root, *self._children()):
                try:
                    resident = process.memory_info().rss / _MEGABYTE
                    self.cpu_seconds[process.pid] = sum(process.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
                total += resident
                self.peaks[process.pid] = max(self.peaks.get(process.pid, 0.0), resident)
            self.peak = max(self.peak, total)
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _children(self) -> list[psutil.Process]:
        try:
            return self._root.children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def measure(folder: Path, num_boxes: int, workers: int, *, code: Path, records: str) -> Measured:
    """Converts the data set in `folder` by the code of a checkout and watches the memory.

    Args:
      folder: of the data; absolute, for the conversion runs in the folder of its code.
      num_boxes: rows of annotations.
      workers: of the runner.
      code: the checkout.
      records: name of a folder in `folder` that only this conversion writes.
    """
    paths = (str(code), os.environ.get("PYTHONPATH", ""))
    command = [
        *(sys.executable, str(code / "pipelines/convert_dataset.py")),
        *("--dataset=objects365", f"--images={folder}", f"--annotations={folder}"),
        # As many images in a shard as Objects365 has in one of 128 MB.
        *(f"--output={folder}/{records}", "--shard_megabytes=0.5"),
        *("--runner=DirectRunner", f"--direct_num_workers={workers}"),
    ]
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=code,  # Where workers find their code first.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    ) as process:
        watch = MemoryWatch(psutil.Process(process.pid))
        watch.start()
        output = process.stdout.read()
    seconds = time.perf_counter() - start
    watch.join()
    if process.returncode:
        raise SystemExit(output)
    others = [peak for pid, peak in watch.peaks.items() if pid != process.pid]
    return Measured(
        num_boxes,
        seconds,
        sum(watch.cpu_seconds.values()),
        watch.peak,
        watch.peaks[process.pid],
        tuple(sorted(peak for peak in others if peak > 20)),
    )


def _print_measured(measured: list[Measured]) -> None:
    titles = "boxes", "seconds", "of CPU", "all, MB", "runner, MB"
    print(" ".join(f"{title:>11}" for title in titles), " others, MB")
    for one in measured:
        numbers = (one.seconds, one.cpu_seconds, one.peak, one.launcher)
        others = ", ".join(f"{peak:.0f}" for peak in one.workers)
        print(f"{one.num_boxes:>11,}", *(f"{number:>11.0f}" for number in numbers), f" {others}")


def _print_ratios(measured: list[Measured], before: list[Measured]) -> None:
    for now, then in zip(measured, before, strict=True):
        print(
            f"{now.num_boxes:,} boxes: {now.seconds / then.seconds:.2f} of the seconds before, "
            f"{now.cpu_seconds / then.cpu_seconds:.2f} of a processor's, "
            f"{now.peak / then.peak:.2f} of the memory"
        )


def _print_all_of_objects365(first: Measured, last: Measured) -> None:
    millions = (last.num_boxes - first.num_boxes) / 1e6
    slope = (last.peak - first.peak) / millions
    runner_slope = (last.launcher - first.launcher) / millions
    seconds = (last.seconds - first.seconds) / millions
    boxes = _ALL_BOXES / 1e6
    memory = last.peak + slope * (boxes - last.num_boxes / 1e6)
    print(
        f"slope: {slope:.0f} MB per million boxes, of them the runner {runner_slope:.0f} MB; "
        f"{seconds:.1f} s per million boxes and their images' records"
    )
    print(
        f"all of Objects365's labels ({boxes:.0f} million boxes) on one machine: "
        f"{memory / 1000:.1f} GB, {seconds * boxes / 60:.0f} min"
    )
    cores = _DATAFLOW_WORKERS * _VCPUS
    reading = _ALL_GIGABYTES * 1000 / _MEGABYTES_PER_CORE_SECOND / cores
    # The annotation file is one stream, read in three passes side by side by three workers.
    annotations = seconds * boxes / 2
    hours = (reading + annotations) / 3600
    dollars = hours * _DATAFLOW_WORKERS * (_VCPUS * _VCPU_HOUR + _GIGABYTES * _GIGABYTE_HOUR)
    shuffled = 3 * runner_slope * boxes / 1000
    dollars += shuffled * _SHUFFLE_GIGABYTE
    print(
        f"on paper, Dataflow with {_DATAFLOW_WORKERS} workers of {_VCPUS} cores: annotations "
        f"{annotations / 60:.0f} min, {_ALL_GIGABYTES} GB of images {reading / 60:.0f} min at "
        f"{_MEGABYTES_PER_CORE_SECOND:.0f} MB/s and core, {shuffled:.0f} GB shuffled at most: "
        f"{hours:.1f} h, {dollars:.0f} US dollars"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="100000,200000", help="sizes, smallest first")
    parser.add_argument("--boxes_per_image", type=float, default=15)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where to work; a temporary folder if not given")
    parser.add_argument("--before", type=Path, help="a checkout of other code, to compare with")
    given = parser.parse_args(arguments)
    measured, before = [], []
    for size in given.images.split(","):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            place = Path(folder).resolve()
            num_images = int(size)
            num_boxes = round(num_images * given.boxes_per_image)
            write_dataset(place, num_images=num_images, num_boxes=num_boxes)
            megabytes = (place / "zhiyuan_objv2_train.json").stat().st_size / _MEGABYTE
            print(
                f"{num_images:,} images, {num_boxes:,} boxes, {megabytes:,.0f} MB of JSON",
                flush=True,
            )
            sizes = (place, num_boxes, given.workers)
            if given.before:
                # By no name of a checkout: two may be called alike.
                code = given.before.resolve()
                before.append(measure(*sizes, code=code, records="records-before"))
            measured.append(measure(*sizes, code=_ROOT, records="records"))
    if before:
        print(f"{given.before.name}:")
        _print_measured(before)
        _print_ratios(measured, before)
    _print_measured(measured)
    if len(measured) > 1:
        _print_all_of_objects365(measured[0], measured[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
