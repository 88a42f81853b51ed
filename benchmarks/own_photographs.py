"""How far one gets on real photographs from nothing, in ten minutes of two processor cores.

    python benchmarks/own_photographs.py --data=../shared/real_data --set=bccd --seeds=1,2,3 \\
        --output=demo/photographs

Converts a set of photographs, trains on its train split from random weights and evaluates on its
test split, once for each seed, each with `pipelines/run_pipeline.py`, whose config this file is.
Prints a table of the seeds and draws what the first of them found in test photographs next to the
truth. The same call again takes what is done from the cache and continues what was interrupted.
The backend is the one that KERAS_BACKEND names.
"""

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ml_collections import ConfigDict

from configs import base
from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.ground_truth import read_images
from pix2seq_model.errors import ConfigError
from pix2seq_model.evaluation.evaluate import DETECTIONS_FILE, GROUND_TRUTH_FILE
from pix2seq_model.reports.drawing import (
    contact_sheet,
    detection_boxes,
    draw_boxes,
    jpeg_bytes,
    read_rgb,
    truth_boxes,
)
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT
from pix2seq_model.training.run_record import RUN_FILE

_ROOT = Path(__file__).resolve().parents[1]
_SPLITS = ("train", "val", "test")
_METRICS = ("AP", "AP50")
_RESULT_FILE = "result.json"
_SHOWN_SCORE = 0.5
_PICTURE_SIDE = 480  # pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotographSet:
    """A set of photographs, and what of the settings follows from it.

    Attributes:
      images, annotations: places below the folder of all sets by split.
      image_size: height and width in pixels of whole photographs for the network, of their shape.
      max_objects: of whole photographs, as the most crowded hold.
      crop_steps, whole_steps: of the two stages, together ten minutes of two cores.
    """

    images: dict[str, str]
    annotations: dict[str, str]
    image_size: tuple[int, int]
    max_objects: int
    crop_steps: int
    whole_steps: int


_RBC_FOLDERS = {"train": "rbc/train", "val": "rbc/valid", "test": "rbc/test"}
SETS = {
    "bccd": PhotographSet(
        images=dict.fromkeys(_SPLITS, "bccd/BCCD/JPEGImages"),
        annotations={split: f"bccd/{split}.json" for split in _SPLITS},
        image_size=(96, 128),
        max_objects=25,
        crop_steps=900,
        whole_steps=1650,
    ),
    "rbc": PhotographSet(
        images=_RBC_FOLDERS,
        annotations={
            split: f"{folder}/_annotations.coco.json" for split, folder in _RBC_FOLDERS.items()
        },
        image_size=(112, 112),
        max_objects=33,
        crop_steps=900,
        whole_steps=1400,
    ),
}


def get_config(argument: str) -> ConfigDict:
    """The chosen settings, see benchmarks/README.md.

    Args:
      argument: "name,folder": of one of SETS, and where the folders of all sets are.

    Raises:
      ConfigError: there is no such set.
    """
    name, _, folder = argument.partition(",")
    if name not in SETS:
        raise ConfigError(f"set {name!r} is none of {', '.join(SETS)}.")
    photographs = SETS[name]
    config = base.get_config()
    config.name = f"photographs_{name}"
    config.seed = 1
    config.vocabulary.update(coord_shift=104, num_bins=64, vocab_size=168)
    config.model.update(backbone="resnet", resnet_variant="c4", resnet_width_multiplier=0.25)
    for part in ("encoder", "decoder"):
        sizes = {"num_{}_layers": 2, "dim_{}": 128, "mlp_dim_{}": 256, "num_heads_{}": 4}
        config.model.update({field.format(part): size for field, size in sizes.items()})
    max_seq_len = TOKENS_PER_OBJECT * photographs.max_objects
    config.model.update(max_seq_len=max_seq_len, drop_path=0.0, drop_units=0.0)
    config.data.pretrain = _source(photographs, folder, ("train",))
    config.data.finetune = _source(photographs, folder, _SPLITS)
    for stage in (config.pretrain, config.finetune):
        stage.update(weight_decay=0.02, clip_norm=1.0, warmup_steps=100)
    # Few and large objects first, as parts of photographs show them: in whole photographs of a
    # dozen and more it takes too many steps until the decoder looks at the image at all.
    config.pretrain.update(
        image_size=(64, 64), batch_size=32, steps=photographs.crop_steps, learning_rate=1.5e-3
    )
    config.pretrain.augmentation.update(scale_min=2.0, scale_max=4.0)
    config.pretrain.sequence.max_objects = 8
    config.finetune.update(
        image_size=photographs.image_size,
        batch_size=8,
        steps=photographs.whole_steps,
        learning_rate=1e-3,
    )
    config.finetune.augmentation.update(scale_min=0.8, scale_max=1.6)
    config.finetune.sequence.max_objects = photographs.max_objects
    config.evaluation.update(split="test", max_objects=photographs.max_objects, resize="plain")
    return config


def _source(photographs: PhotographSet, folder: str, splits: tuple[str, ...]) -> ConfigDict:
    source = base.data_source("coco_format")
    for split in splits:
        source.images[split] = f"{folder}/{photographs.images[split]}"
        source.annotations[split] = f"{folder}/{photographs.annotations[split]}"
        source.num_shards[split] = 0
    return source


def run(name: str, folder: Path, *, seed: int, root: Path) -> dict[str, Any]:
    """Runs the pipeline with one seed; returns the row of the table.

    Args:
      name: of the set.
      folder: of all sets.
      seed: of the run.
      root: folder of the run's outputs.

    Raises:
      subprocess.CalledProcessError: the pipeline failed; it has said why.
    """
    before = _processor_minutes()
    command = [
        *(sys.executable, str(_ROOT / "pipelines/run_pipeline.py")),
        f"--config={Path(__file__).resolve()}:{name},{folder.resolve()}",
        *(f"--config.seed={seed}", f"--pipeline_root={root}"),
    ]
    subprocess.run(command, check=True)
    summary = json.loads((root / "summary.json").read_text())
    whole = json.loads((Path(summary["model"]) / RUN_FILE).read_text())
    stages = [whole["base_model"]["run"], whole]
    metrics = summary["evaluation"]["metrics"]
    row = {
        "set": name,
        "seed": seed,
        **{metric: metrics[metric] for metric in _METRICS},
        "steps": sum(stage["steps"] for stage in stages),
        "minutes of training": sum(stage["wall_time_s"] for stage in stages) / 60,
        "processor minutes of all": _processor_minutes() - before,
    }
    path = root / _RESULT_FILE
    if path.exists() and all(stage["cached"] for stage in summary["stages"]):
        row = json.loads(path.read_text())  # The time that it once took.
    write_json(path, row)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows, and below them the mean of the metrics, in Markdown."""
    lines = [_line(list(rows[0])), "|---" * len(rows[0]) + "|"]
    lines += [_line(list(row.values())) for row in rows]
    means = [statistics.fmean(row[metric] for row in rows) for metric in _METRICS]
    blanks = [""] * (len(rows[0]) - 2 - len(means))
    lines.append(_line([rows[0]["set"], "mean", *means, *blanks]))
    return "\n".join(lines)


def picture(root: Path, *, images: int) -> bytes:
    """A JPEG of test photographs, the truth next to what a run found.

    Args:
      root: folder of the run's outputs.
      images: how many photographs, spread over the split.
    """
    summary = json.loads((root / "summary.json").read_text())
    evaluation = Path(summary["evaluation"]["folder"])
    truth = json.loads((evaluation / GROUND_TRUTH_FILE).read_text())
    detections = json.loads((evaluation / DETECTIONS_FILE).read_text())
    names = {row["id"]: row["name"] for row in truth["categories"]}
    image_ids = [row["id"] for row in truth["images"]]
    number = min(images, len(image_ids))
    chosen = [image_ids[k * len(image_ids) // number] for k in range(number)]
    examples = summary["data"]["finetune"]["folder"]
    encoded = read_images(examples, summary["evaluation"]["split"], truth["images"], chosen)
    pictures = []
    for image_id in chosen:
        image = read_rgb(encoded[image_id])
        there = [row for row in truth["annotations"] if row["image_id"] == image_id]
        found = [row for row in detections if row["image_id"] == image_id]
        shown = detection_boxes(found, names, score_threshold=_SHOWN_SCORE)
        pictures += [
            draw_boxes(image, boxes, longer_side=480)
            for boxes in (truth_boxes(there, names), shown)
        ]
    captions = ["truth", f"found, score {_SHOWN_SCORE} and above"] * len(chosen)
    return jpeg_bytes(contact_sheet(pictures, captions=captions, columns=4, cell=_PICTURE_SIDE))


def _processor_minutes() -> float:
    """Of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) / 60


def _line(cells: list) -> str:
    texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    return f"| {' | '.join(texts)} |"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets' folders")
    parser.add_argument("--set", choices=tuple(SETS), required=True, help="of photographs")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", default="1,2,3", help="of the runs")
    parser.add_argument("--images", type=int, default=6, help="photographs of the picture")
    given = parser.parse_args(arguments)
    roots = {int(seed): given.output / given.set / f"seed{seed}" for seed in given.seeds.split(",")}
    try:
        rows = [run(given.set, given.data, seed=seed, root=root) for seed, root in roots.items()]
    except subprocess.CalledProcessError as error:
        return error.returncode
    print(table(rows))
    path = given.output / given.set / "test_photographs.jpg"
    write_atomically(path, picture(next(iter(roots.values())), images=given.images))
    print(f"\nFound next to the truth: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
