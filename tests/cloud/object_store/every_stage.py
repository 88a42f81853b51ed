"""All that the project does with files, from conversion to prediction, below one address.

    python -m tests.cloud.object_store.every_stage DATA ROOT

`DATA` holds what `write_data` wrote, `ROOT` gets what each stage writes; both may be local or
`gs://`. The same command again continues where the one before was killed.
"""

import sys
import time
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components.conversion.convert import convert_dataset
from components.example_gen import conversion_options
from components.model_pusher import push_model
from pix2seq_model import folder_lock
from pix2seq_model.api import load
from pix2seq_model.evaluation.evaluate import evaluate_model
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.experiment.validation import training_run
from pix2seq_model.prediction.image_sources import find_images
from pix2seq_model.prediction.predict import predict
from pix2seq_model.published.import_checkpoint import import_checkpoint
from pix2seq_model.reports.data_report import write_data_report
from pix2seq_model.training.train import train
from tests.fixtures import tiny_config


def write_data(folder: Path) -> Path:
    """Writes images with annotations, and a checkpoint in the published layout."""
    from tests.fixtures import published_layout, tiny_pipeline
    from tests.fixtures.tiny_model import network

    tiny_pipeline.write_data(folder)
    published_layout.write(folder / "checkpoint", network())
    return folder


def run(data: str, root: str) -> None:
    # The lock of a killed trainer expires sooner than the minutes of a real run.
    folder_lock.RENEW_EVERY_S, folder_lock.LEFT_BEHIND_S = 1.0, 6.0
    config = tiny_config.pipeline_config(data)
    section = config.data.finetune.to_dict()
    section["num_shards"] = {"train": 3, "val": 2}
    convert_dataset(
        conversion_options(section, name="tiny", seed=3),
        f"{root}/examples",
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )
    write_data_report(f"{root}/examples")
    _said("converted")
    train(
        training_run(config, "finetune"),
        examples_dir=f"{root}/examples",
        model_dir=f"{root}/model",
        work_dir=f"{root}/work",
        logs_dir=f"{root}/logs",
    )
    _said("trained")
    evaluate_model(
        f"{root}/model",
        f"{root}/examples",
        split="val",
        settings=EvaluationSettings.from_config(config.evaluation),
        output_dir=f"{root}/evaluation",
    )
    _said("evaluated")
    push_model(f"{root}/model", f"{root}/served")
    _said("pushed")
    import_checkpoint(f"{data}/checkpoint", f"{root}/imported")
    _said("imported")
    predict(
        lambda: load(f"{root}/model").detector,
        find_images([f"{data}/coco/val2017"]),
        output_dir=f"{root}/found",
        score_threshold=0.0,
    )
    _said("predicted")


def _said(what: str) -> None:
    print(f"{what} {time.process_time():.1f}", flush=True)


if __name__ == "__main__":
    run(*sys.argv[1:])
