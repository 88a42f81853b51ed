"""Detects the objects of many images as a Beam job, on any runner.

    python pipelines/predict_batch.py --model=demo/pipeline/serving_model --images=photos \\
        --output=found --direct_num_workers=2
    python pipelines/predict_batch.py --model=gs://bucket/model --images=gs://bucket/photos \\
        --output=gs://bucket/found --runner=DataflowRunner --project=... --region=... \\
        --temp_location=gs://bucket/tmp

--images takes folders, patterns (quoted: 'gs://bucket/2026-*/*.jpg', 'photos/**/*.jpg' for those in
the folders below too), zip archives, text files with a path on each line (*.txt), image files, and
examples folders that convert_dataset wrote, with --split.

The output folder gets detections/*.jsonl and *.tfrecord, unreadable/*.jsonl with a line for every
image that could not be read, and predictions.json with the counts, written last. A run that was
interrupted continues with the same command: finished shards stay as they are. Images that were
missing or could not be read are tried again. A folder with files that this command did not write is
refused; with --overwrite they stay, unless they are called as its own.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import time

from absl import flags

from components.prediction.options import PredictionOptions
from components.prediction.predict import predict_images
from components.storage.memory import give_freed_memory_back
from components.storage.watch import ShardBar
from pipelines.cli.command_line import flag_values, local_pipeline, run_command
from pipelines.cli.decoding_flags import (
    decoding_settings,
    define_detection_flags,
    settle_score_threshold,
)
from pipelines.cli.place_flags import define_places
from pix2seq_model.data.settings import MAX_PIXELS
from pix2seq_model.model_folder.pushed import find_model_folder
from pix2seq_model.prediction.image_sources import left_out_text

FLAGS = flags.FLAGS

define_detection_flags()
define_places("images", None, "Folders, patterns, lists, records.", required=True)
flags.DEFINE_list("split", [], "Of examples folders, such as val; empty: all.")
flags.DEFINE_integer("images_per_shard", 500, "Of an output shard.", lower_bound=1)
flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Larger images are left out.")
flags.DEFINE_boolean("overwrite", False, "Write among files that this command did not write.")


def main(beam_arguments: list[str]) -> None:
    settle_score_threshold()
    options = PredictionOptions(
        model_dir=find_model_folder(FLAGS.model),
        images=tuple(FLAGS.images),
        splits=tuple(FLAGS.split),
        decoding=decoding_settings(),
        **flag_values(
            "images_per_shard", "batch_size", "score_threshold", "max_pixels", "precision"
        ),
    )
    output = FLAGS.output.rstrip("/")
    give_freed_memory_back()
    start = time.monotonic()
    with ShardBar(output, waiting="finding images", working="detecting"):
        done = predict_images(
            options,
            output,
            make_pipeline=lambda: local_pipeline(beam_arguments),
            overwrite=FLAGS.overwrite,
        )
    unreadable = sum(done["unreadable"].values())
    print(
        f"{done['images']:,} images in = {done['written']:,} written + {unreadable:,} unreadable; "
        f"{done['detections']:,} detections"
    )
    for rule, count in done["unreadable"].items():
        print(f"  {rule}: {count:,}")
    if unreadable:
        print(f"  each of them is in {output}/unreadable")
    if done["left_out"]:
        print(left_out_text(done["left_out"]))
    print(f"{output}: complete after {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run_command(main, continues=True)
