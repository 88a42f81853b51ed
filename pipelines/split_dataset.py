"""Deals the images of a data set out to train, val and test.

    python pipelines/split_dataset.py --annotations=labels.json --output=splits --val=0.2
    python pipelines/split_dataset.py --images=exported --output=splits

The second form reads the labels that a tool has put into a folder (docs/own_data.md) and joins the
splits that it has already. Writes splits/train.json and splits/val.json, each class in proportion,
the same for the same seed.
--group_by=folder keeps the images of a folder together, as the frames of a video must be;
--group_by=video_id those with an equal value of that field.

Several files are joined: --annotations=a.json,b.json --images=a/images,b/images. File names are
then below the folder that these folders share, which is printed. --classes=classes.json renames
classes, joins them, or leaves them out: {"lorry": "truck", "background": null}, and "*": null
leaves out all that are not named.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from rich import box
from rich.table import Column, Table

from components.labels.layout import ALL_IS_TRAIN, coco_file, recognise
from pipelines.cli.command_line import run_command
from pipelines.cli.place_flags import define_place, define_places
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.settings import AUTO, COCO_FORMAT, LABEL_FORMATS
from pix2seq_model.data.split import (
    boxes_by_class,
    check_lists,
    join_sets,
    map_classes,
    split_images,
)
from pix2seq_model.errors import ConfigError, DataError
from pix2seq_model.metrics.coco_files import read_json
from pix2seq_model.terminal import make_console

FLAGS = flags.FLAGS

define_places("annotations", [], "Annotation files, COCO's format; empty: see --images.")
define_place("output", None, "Folder for train.json, val.json, test.json.", required=True)
_IMAGES = "Folder of images of each file, where names would clash; or folders with labels in them."
define_places("images", [], _IMAGES)
flags.DEFINE_enum("dataset", AUTO, (AUTO, COCO_FORMAT, *LABEL_FORMATS), "Format of such labels.")
flags.DEFINE_float("val", 0.2, "Fraction of the images to validate on.")
flags.DEFINE_float("test", 0.0, "Fraction of the images to test on.")
flags.DEFINE_string("group_by", "", "What must stay together: folder, or a field of images.")
define_place("classes", "", "JSON file: old class names to new ones, null to leave out.")
flags.DEFINE_integer("seed", 0, "Orders the images.")


def main() -> None:
    if not FLAGS.annotations and not FLAGS.images:
        raise ConfigError("give --annotations=FILE, or --images=FOLDER with labels in it")
    parent, folders = _folders()
    if FLAGS.annotations:
        contents = [check_lists(read_json(path), path) for path in FLAGS.annotations]
        sets = list(zip(FLAGS.annotations, folders, contents, strict=True))
    else:
        pairs = zip(FLAGS.images, folders, strict=True)
        sets = [found for place, below in pairs for found in _recognised(place, below)]
    content = join_sets(sets)
    if FLAGS.classes:
        content = map_classes(content, read_json(FLAGS.classes), FLAGS.classes)
    source = ", ".join(source for source, _, _ in sets)
    splits = split_images(
        content, _fractions(), seed=FLAGS.seed, group_by=FLAGS.group_by, source=source
    )
    for name, part in splits.items():
        write_json(Path(FLAGS.output) / f"{name}.json", part)
    _print_table(splits)
    if parent:
        print(f"file names are below {parent}: give it as the folder of images")


def _folders() -> tuple[str, list[str]]:
    """What the folders of images share, and what of each is below it; empty if none are given."""
    if not FLAGS.images:
        return "", [""] * len(FLAGS.annotations)
    if FLAGS.annotations and len(FLAGS.images) != len(FLAGS.annotations):
        raise ConfigError(
            f"--images names {len(FLAGS.images)} folders and --annotations "
            f"{len(FLAGS.annotations)} files: give one folder for each file, in the same order"
        )
    folders = FLAGS.images
    if missing := [folder for folder in folders if not Path(folder).is_dir()]:
        hint = ""
        if Path(missing[0]).is_file():
            hint = ": unpack it, or with --annotations leave --images out"
        raise DataError(f"--images={missing[0]}: there is no such folder{hint}")
    absolute = [os.path.abspath(folder) for folder in folders]
    parent = os.path.commonpath(absolute)
    below = [Path(folder).relative_to(parent).as_posix() for folder in absolute]
    return parent, ["" if folder == "." else folder for folder in below]


def _recognised(place: str, below: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The sets in a folder, as `join_sets` takes them.

    Args:
      place: the folder.
      below: what of its path goes in front of file names.
    """
    layout = recognise(place, wanted="" if FLAGS.dataset == AUTO else FLAGS.dataset)
    print("\n".join(line for line in layout.lines if line != ALL_IS_TRAIN))
    if layout.names_splits and list(layout.splits) != ["train"]:
        print(
            f"warning: {place} has the splits {', '.join(layout.splits)} already: they are joined "
            "and dealt out again, and what was kept for val or test may be trained on. To keep "
            "them, leave this command out: pipelines/run_pipeline.py takes them as they are"
        )
    for split, source in layout.splits.items():
        folder = os.path.relpath(source.images, place)
        parts = [part for part in (below, folder) if part not in ("", ".")]
        with tempfile.TemporaryDirectory() as scratch:
            path = coco_file(source, split, output=scratch)
            content = check_lists(read_json(path), path)
        yield f"{place} ({split})", "/".join(parts), content


def _fractions() -> dict[str, float]:
    fractions = {"train": 1 - FLAGS.val - FLAGS.test, "val": FLAGS.val, "test": FLAGS.test}
    if min(fractions.values()) < 0 or fractions["train"] < 1e-9 or fractions["val"] == 0:
        raise ConfigError(
            f"--val={FLAGS.val} --test={FLAGS.test}: give --val more than 0, and leave something "
            "to train on"
        )
    return {name: part for name, part in fractions.items() if part}


def _print_table(splits: dict[str, dict[str, Any]]) -> None:
    columns = [Column(name, justify="right") for name in splits]
    table = Table("", *columns, box=box.SIMPLE_HEAD)
    table.add_row("images", *(f"{len(part['images']):,}" for part in splits.values()))
    table.add_section()
    counts = {name: boxes_by_class(part) for name, part in splits.items()}
    for label in counts["train"]:
        table.add_row(label, *(f"{counts[name].get(label, 0):,}" for name in splits))
    make_console().print(table)
    never = [label for label in counts["train"] if not any(c[label] for c in counts.values())]
    absent = {"no split has a box of": never}
    for name, numbers in counts.items():
        absent[f"{name} has no box of"] = [
            label for label, number in numbers.items() if not number and label not in never
        ]
    for words, labels in absent.items():
        if labels:
            more = " and others" if len(labels) > 5 else ""
            print(
                f"warning: {words} {', '.join(labels[:5])}{more}; leave the class out with "
                "--classes, or label more images of it"
            )


if __name__ == "__main__":
    run_command(main, takes_more=False)
