"""Converts a data set with boxes to TFRecords, on any Beam runner.

    python pipelines/convert_dataset.py --dataset=objects365 --images=/data/objects365 \\
        --annotations=/data/objects365 --output=/data/objects365_records
    python pipelines/convert_dataset.py --dataset=coco --images=/data/coco \\
        --annotations=/data/coco/annotations --output=/data/coco_records --direct_num_workers=8
    python pipelines/convert_dataset.py --dataset=coco_format --images=train=photos,val=photos \\
        --annotations=train=train.json,val=val.json --output=records
    python pipelines/convert_dataset.py ... --output=gs://bucket/records --runner=DataflowRunner \\
        --project=... --region=... --temp_location=gs://bucket/tmp

The output folder gets shards, the manifest dataset_info.json, dead-letter files with every row that
was dropped or changed, and data_report.html. A run that was interrupted continues with the same
command.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import time

from absl import flags

from components.conversion.collection import collect_only_new_objects
from components.conversion.convert import convert_dataset
from components.storage.memory import give_freed_memory_back
from components.storage.watch import ShardBar
from pipelines.cli.command_line import local_pipeline, run_command
from pipelines.cli.dataset_flags import conversion_options
from pipelines.cli.place_flags import define_place
from pix2seq_model.data.box_statistics import crowded_images
from pix2seq_model.data.defects import counts_table
from pix2seq_model.data.manifest import read_statistics
from pix2seq_model.tokens.settings import SequenceSettings

FLAGS = flags.FLAGS

define_place("output", None, "Folder to write.", required=True)
flags.DEFINE_bool("data_report", True, "Write data_report.html next to the records.")


def main(beam_arguments: list[str]) -> None:
    options = conversion_options()
    output = FLAGS.output.rstrip("/")
    give_freed_memory_back()
    collect_only_new_objects()
    start = time.monotonic()
    with ShardBar(output):
        info = convert_dataset(
            options, output, make_pipeline=lambda: local_pipeline(beam_arguments)
        )
    print(counts_table({name: split.counts for name, split in info.splits.items()}))
    for name, split in info.splits.items():
        print(
            f"{name}: {split.num_examples:,} images, {split.num_objects:,} boxes, "
            f"{split.num_bytes / 1e6:,.1f} MB in {len(split.shards)} shards"
        )
    for name, statistics in read_statistics(output).items():
        limit = SequenceSettings().max_objects
        if crowded := crowded_images(statistics["objects_per_image"], max_objects=limit):
            print(f"warning: {name}: {crowded}")
    if FLAGS.data_report:
        # Here, as the charts need memory that the conversion should have for itself.
        from pix2seq_model.reports.data_report import write_data_report

        print(f"report: {write_data_report(output)}")
    print(f"{output}: complete after {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run_command(main, continues=True)
