"""Detects the objects of many images as a Beam job, on any runner.

    python pipelines/predict_batch.py --model=demo/pipeline/serving_model --images=photos \\
        --output=found --direct_num_workers=2
    python pipelines/predict_batch.py --model=gs://bucket/model --images=gs://bucket/photos \\
        --output=gs://bucket/found --runner=DataflowRunner --project=... --region=... \\
        --temp_location=gs://bucket/tmp

--images takes folders, patterns (quoted: 'gs://bucket/2026-*/*.jpg'), text files with a path on
each line (*.txt), image files, and examples folders that convert_dataset wrote, with --split.

The output folder gets detections/*.jsonl and *.tfrecord, unreadable/*.jsonl with a line for every
image that could not be read, and predictions.json with the counts, written last. A run that was
interrupted continues with the same command: finished shards stay as they are. Images that were
missing or could not be read are tried again.
"""

import time

import apache_beam as beam
from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions

from components.prediction.options import PredictionOptions
from components.prediction.predict import predict_images
from components.storage.memory import give_freed_memory_back
from components.storage.watch import ShardBar
from pipelines.cli.command_line import local_beam_args, run_command
from pipelines.cli.decoding_flags import decoding_settings
from pix2seq_model.model_folder.pushed import find_model_folder

_MODEL = flags.DEFINE_string("model", None, "Model folder, or a pushed version.", required=True)
_IMAGES = flags.DEFINE_list("images", None, "Folders, patterns, lists, records.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)
_SPLITS = flags.DEFINE_list("split", [], "Of examples folders, such as val; empty: all.")
_SHARD = flags.DEFINE_integer("images_per_shard", 500, "Of an output shard.", lower_bound=1)
_SCORE = flags.DEFINE_float("score_threshold", 0.3, "Least score of what is written.", 0.0, 1.0)
_MAX_PIXELS = flags.DEFINE_integer("max_pixels", 100_000_000, "Larger images are left out.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images decoded together.", lower_bound=1)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16"], "Of the network; bfloat16 is for accelerators."
)


def main(beam_arguments: list[str]) -> None:
    options = PredictionOptions(
        model_dir=find_model_folder(_MODEL.value),
        images=tuple(_IMAGES.value),
        splits=tuple(_SPLITS.value),
        images_per_shard=_SHARD.value,
        batch_size=_BATCH_SIZE.value,
        score_threshold=_SCORE.value,
        max_pixels=_MAX_PIXELS.value,
        precision=_PRECISION.value,
        decoding=decoding_settings(),
    )
    output = _OUTPUT.value.rstrip("/")
    arguments = local_beam_args(beam_arguments)
    give_freed_memory_back()
    start = time.monotonic()
    with ShardBar(output, waiting="finding images", working="detecting"):
        done = predict_images(
            options,
            output,
            make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(list(arguments))),
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
    print(f"{output}: complete after {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run_command(main)
