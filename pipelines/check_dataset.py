"""Checks a data set as a conversion would, and writes no records; or records, with --examples.

    python pipelines/check_dataset.py --dataset=coco_format --images=train=photos \\
        --annotations=train=train.json --report=check --check_pixels

    python pipelines/check_dataset.py --examples=out/examples

reads every record of an examples folder and compares it with the folder's manifest: checksums,
counts, labels; with --check_pixels the images too. Without --examples it

prints the counts of every rule, examples of each defect, what the boxes are like, and what may have
gone wrong where most rows are. With --report the dead-letter files (every row that would be dropped
or changed) stay there. The exit status is 1 if a conversion with the same flags would fail, or if a
split has no object to learn.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import dataclasses
import tempfile
from collections.abc import Mapping
from typing import Any

from absl import flags

from components.conversion.collection import collect_only_new_objects
from components.conversion.convert import ConvertDataset
from components.conversion.finish import Outcome, conversion_outcome
from components.conversion.options import ConversionOptions
from components.conversion.prepare import prepare_conversion
from components.storage.files import check_output_name
from components.storage.memory import give_freed_memory_back
from components.storage.watch import ShardBar
from pipelines.cli.command_line import local_beam_args, local_pipeline, run_command
from pipelines.cli.dataset_flags import conversion_options
from pipelines.cli.place_flags import define_place
from pix2seq_model.data.box_statistics import AREA_NAMES, crowded_images
from pix2seq_model.data.defects import DefectLimits
from pix2seq_model.data.manifest import DatasetInfo, read_dataset_info, read_statistics
from pix2seq_model.data.shard_check import folder_problems
from pix2seq_model.errors import ConfigError
from pix2seq_model.folder_lock import FolderLock
from pix2seq_model.tokens.settings import SequenceSettings

FLAGS = flags.FLAGS

define_place("examples", "", "Examples folder to check in place of a data set.")
define_place("report", "", "Folder for the dead-letter files; empty: they are not kept.")


def _box_lines(split: str, statistics: Mapping[str, Any], names: Mapping[int, str]) -> list[str]:
    per_image = {int(count): n for count, n in statistics["objects_per_image"].items()}
    num_images, num_boxes = sum(per_image.values()), sum(c * n for c, n in per_image.items())
    if not num_images:
        return [f"{split}: no images"]
    areas = ", ".join(
        f"{n:,} {name}" for name, n in zip(AREA_NAMES, statistics["areas"], strict=True)
    )
    absent = [name for number, name in names.items() if str(number) not in statistics["classes"]]
    limit = SequenceSettings().max_objects
    crowded = crowded_images(per_image, max_objects=limit)
    lines = [
        f"{split}: {num_boxes:,} boxes ({areas}) and {statistics['crowd']:,} crowd boxes; "
        f"{num_boxes / num_images:.1f} boxes an image, at most {max(per_image)}",
        f"{split}: {per_image.get(0, 0):,} images without boxes; "
        + (crowded or f"none with more than the {limit} that one sequence holds"),
    ]
    if absent:
        lines.append(f"{split}: {len(absent)} of {len(names)} categories unused: {absent[:5]}")
    return lines


def _check(options: ConversionOptions, output: str, beam_arguments: list[str]) -> Outcome:
    check_output_name(output)
    with FolderLock(output, holder="conversion", otherwise="name another --report folder"):
        return _examine(options, output, beam_arguments)


def _examine(options: ConversionOptions, output: str, beam_arguments: list[str]) -> Outcome:
    options = prepare_conversion(options, output)
    # Examined to the end however much is wrong: that is what a person wants to know.
    tolerant = dataclasses.replace(
        options, limits=DefectLimits(max_dropped_images=1.0, max_dropped_annotations=1.0)
    )
    with ShardBar(output), local_pipeline(beam_arguments) as pipeline:
        _ = pipeline | ConvertDataset(tolerant, output=output, write_records=False)
    return conversion_outcome(options, output)


def _category_lines(info: DatasetInfo, limit: int | None) -> list[str]:
    highest = max(info.category_names())
    lines = [f"{len(info.categories)} categories, the highest id is {highest}"]
    if any("source_id" in row for row in info.categories):
        lines.append("  renumbered; the file's own ids stay next to them as source_id")
    if limit is not None and highest > limit:
        lines.append(f"  ids above {limit} need a larger vocabulary (vocabulary.coord_shift)")
    return lines


def _report(options: ConversionOptions, outcome: Outcome, output: str) -> int:
    info = outcome.info
    print(outcome.explained(output))
    print()
    for split, statistics in read_statistics(output).items():
        print("\n".join(_box_lines(split, statistics, info.category_names())))
    print("\n".join(_category_lines(info, options.max_category_id)))
    if outcome.problems:
        print("\na conversion would fail:\n" + "\n".join(outcome.problems))
    for split in outcome.nothing_to_learn:
        print(f"{split}: nothing is left to learn: no object in any image")
    return bool(outcome.problems or outcome.nothing_to_learn)


def _check_examples(directory: str) -> int:
    decode = None
    if FLAGS.check_pixels:
        # TensorFlow, which decodes the pixels, takes seconds to import.
        from pix2seq_model.data.damage import damage_of_record

        decode = damage_of_record
    info = read_dataset_info(directory)
    print(f"{directory}: {info.name}, {len(info.categories)} categories")
    problems = []
    for name, split in info.splits.items():
        found = folder_problems(directory, info, name, damage=decode)
        problems += found
        print(
            f"{name}: {split.num_examples:,} images in {len(split.shards)} shards, "
            f"{split.num_bytes:,} bytes: "
            + (f"{len(found)} of the shards cannot be used" if found else "as the manifest says")
        )
    print("\n".join(problems), end="\n" if problems else "")
    return bool(problems)


def main(beam_arguments: list[str]) -> int:
    if FLAGS.examples:
        if FLAGS.images:
            raise ConfigError("--examples checks records, --images a data set: give one of them")
        return _check_examples(FLAGS.examples)
    options = conversion_options()
    give_freed_memory_back()
    collect_only_new_objects()
    if not FLAGS.report and "--runner=FnApiRunner" not in local_beam_args(beam_arguments):
        raise ConfigError("on this runner give --report, a folder that its workers reach")
    with tempfile.TemporaryDirectory() as scratch:
        output = FLAGS.report.rstrip("/") or scratch
        return _report(options, _check(options, output, beam_arguments), output)


if __name__ == "__main__":
    run_command(main)
