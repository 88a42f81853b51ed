"""Images per second of the conversion, against the plain way, in the same run.

    python benchmarks/convert.py --coco=../shared/coco_sample --images=5120

Repeats real photographs under new ids, converts them with `pipelines/convert_dataset.py` on the
DirectRunner with two workers and with `benchmarks/plain_converter.py` in two processes, by turns,
and checks that both wrote the same examples. Times are of whole commands, their start included.
Leave the machine alone meanwhile.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pix2seq_model.data.tfrecord import read_records

_ROOT = Path(__file__).resolve().parents[1]
_WORKERS = 2


def repeat_sample(coco: Path, folder: Path, num_images: int) -> int:
    """Writes `num_images` photographs and their annotations under new ids; returns the bytes."""
    content = json.loads((coco / "annotations/instances_train2017.json").read_text())
    boxes: dict[int, list] = {}
    for annotation in content["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation)
    (folder / "images").mkdir(parents=True)
    images, annotations, num_bytes = [], [], 0
    for number in range(1, num_images + 1):
        image = content["images"][number % len(content["images"])]
        name = f"{number:012d}.jpg"
        data = (coco / "images/train2017" / image["file_name"]).read_bytes()
        (folder / "images" / name).write_bytes(data)
        num_bytes += len(data)
        images.append({**image, "id": number, "file_name": name})
        for annotation in boxes.get(image["id"], []):
            new = {**annotation, "id": len(annotations) + 1, "image_id": number}
            annotations.append(new)
    content |= {"images": images, "annotations": annotations}
    (folder / "labels.json").write_text(json.dumps(content))
    return num_bytes


def commands(folder: Path, num_shards: int) -> dict[str, list[str]]:
    sources = f"--images={folder}/images", f"--annotations={folder}/labels.json"
    return {
        "convert_dataset": [
            str(_ROOT / "pipelines/convert_dataset.py"),
            "--dataset=coco_format",
            "--images=train=" + sources[0].partition("=")[2],
            "--annotations=train=" + sources[1].partition("=")[2],
            f"--num_shards={num_shards}",
            "--runner=DirectRunner",
            f"--direct_num_workers={_WORKERS}",
            "--nodata_report",
            f"--output={folder}/convert_dataset",
        ],
        "plain_converter": [
            str(_ROOT / "benchmarks/plain_converter.py"),
            *sources,
            f"--num_shards={num_shards}",
            f"--processes={_WORKERS}",
            f"--output={folder}/plain_converter",
        ],
    }


def digests(folder: Path) -> set[bytes]:
    """Digests of all examples in a folder."""
    found = set()
    for path in folder.rglob("*.tfrecord"):
        with path.open("rb") as file:
            found |= {hashlib.sha256(r).digest() for r in read_records(file, name=str(path))}
    return found


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coco", type=Path, default=Path("../shared/coco_sample"))
    parser.add_argument("--images", type=int, default=5120)
    parser.add_argument("--num_shards", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to work; some GB; a temporary folder if not given")
    given = parser.parse_args(arguments)
    if given.folder:
        Path(given.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        num_bytes = repeat_sample(given.coco, folder, given.images)
        print(f"{given.images:,} images, {num_bytes / 1e6:,.0f} MB", flush=True)
        ways = commands(folder, given.num_shards)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(given.rounds):
            for way, command in ways.items():
                shutil.rmtree(folder / way, ignore_errors=True)
                seconds[way].append(timed(command))
                print(f"round {turn + 1}: {way}: {seconds[way][-1]:.1f} s", flush=True)
        same = digests(folder / "convert_dataset") == digests(folder / "plain_converter")
        print(f"same examples: {same}")
        middle = {way: statistics.median(times) for way, times in seconds.items()}
        for way, median in middle.items():
            print(
                f"{way}: median {median:.1f} s, {given.images / median:,.0f} images/s, "
                f"{num_bytes / 1e6 / median:,.0f} MB/s"
            )
        print(f"ratio: {middle['plain_converter'] / middle['convert_dataset']:.2f}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
