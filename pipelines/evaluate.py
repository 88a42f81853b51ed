"""COCO numbers of a model on any labelled images, with the full report.

    python pipelines/evaluate.py --model=demo/pipeline/serving_model --images=photos \\
        --annotations=photos/labels.json --output=evaluation

--model is a model folder, a pushed version or a published checkpoint. --images and --annotations
are read as pipelines/check_dataset.py reads them: COCO JSON, YOLO, Pascal VOC, LabelMe, Open
Images, Label Studio; without --annotations the labels lie among the images. Where there are several
splits --split names one; where there are none it is what to call them ("test" if not given).
Categories are matched by their names, whatever their ids.

The output folder gets metrics.json, report.html, the detections and the truth, and the records that
the images were converted to, in examples/. A run that was interrupted continues with the same
command. Tokens are drawn as the model folder says unless --top_k, ... are given.
"""

import sys
from os.path import dirname

sys.path.append(dirname(dirname(__file__)))  # The project need not be installed.
import pipelines.cli.guard  # noqa: F401 - explains imports that fail

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from absl import flags
from etils import epath

from components.conversion.convert import convert_dataset
from components.conversion.options import ConversionOptions, SplitSource
from components.labels.layout import ALL_IS_TRAIN, recognise_splits, split_to_evaluate
from components.storage.memory import give_freed_memory_back
from components.storage.watch import ShardBar
from pipelines.cli.command_line import flag_values, local_pipeline, run_command
from pipelines.cli.decoding_flags import decoding_settings
from pipelines.cli.place_flags import define_place
from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.defects import counts_table
from pix2seq_model.data.folder_walk import is_hidden
from pix2seq_model.data.settings import AUTO, COCO_FORMAT, LABEL_FORMATS, MAX_PIXELS
from pix2seq_model.decoding.settings import BATCH_SIZE
from pix2seq_model.errors import ConfigError
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.metrics.coco_metrics import metrics_table
from pix2seq_model.model_folder.folder import ModelInfo, read_model_info
from pix2seq_model.model_folder.pushed import find_model_folder
from pix2seq_model.published.locations import is_checkpoint
from pix2seq_model.reports.settings import NUM_PICTURES

FLAGS = flags.FLAGS
_MARKER = "evaluate.json"

define_place("images", None, "Folder, or zip archive, of the images.", required=True)
define_place("annotations", "", "Their labels: a folder or a file; empty: among the images.")
define_place("output", None, "Folder to write.", required=True)
flags.DEFINE_string("split", "", "Which one of several, or what to call the only one.")
flags.DEFINE_enum(
    "dataset", AUTO, [AUTO, COCO_FORMAT, *LABEL_FORMATS], "Format of the labels; auto: recognised."
)
flags.DEFINE_integer("batch_size", BATCH_SIZE, "Images decoded together.", lower_bound=1)
flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of the network.")
flags.DEFINE_integer("num_pictures", NUM_PICTURES, "Pictures in the report.", lower_bound=0)
flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Larger images are left out.", lower_bound=1)


def main(beam_arguments: list[str]) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    given = decoding_settings()
    _refuse_files_of_others(FLAGS.output)
    with tempfile.TemporaryDirectory() as scratch:
        model_dir = _model_folder(scratch)
        info = read_model_info(model_dir)
        split, source = _source()
        settings = _settings(info, split, given)
        output = FLAGS.output.rstrip("/")
        examples = f"{output}/examples"
        write_json(epath.Path(output) / _MARKER, {"made_by": "pix2seq evaluate"})
        give_freed_memory_back()
        options = ConversionOptions(
            name=os.path.basename(FLAGS.images.rstrip("/")) or "data",
            splits={split: source},
            max_category_id=info.vocabulary.max_category_id,
            max_pixels=FLAGS.max_pixels,
        )
        with ShardBar(examples):
            dataset = convert_dataset(
                options, examples, make_pipeline=lambda: local_pipeline(beam_arguments)
            )
        if any(kind["dropped"] for kind in dataset.split(split).counts.values()):
            print(counts_table({split: dataset.split(split).counts}))
        # TensorFlow and Keras: not before model and data are known to fit the command.
        from pix2seq_model.evaluation.evaluate import evaluate_model
        from pix2seq_model.reports.evaluation_report import write_evaluation_report

        metrics = evaluate_model(
            model_dir,
            examples,
            split=split,
            settings=settings,
            output_dir=output,
            categories_by_name=True,
        )
        report = write_evaluation_report(
            output, examples_dir=examples, model_dir=model_dir, output_dir=output
        )
    print(metrics_table(metrics))
    known = {name.strip() for name in info.category_names.values()}
    if unknown := [row["name"] for row in metrics["per_class"] if row["name"].strip() not in known]:
        print(f"\nthe model does not know {', '.join(unknown)}: their objects count as missed")
    print(f"\nmetrics: {output}/metrics.json\nreport:  {report}")


def _refuse_files_of_others(output: str) -> None:
    """
    Raises:
      ConfigError: a folder with files in it that is not this command's: they might be lost.
    """
    folder = epath.Path(output)
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    others = [name for name in names if not is_hidden(name)]
    if others and _MARKER not in others:
        raise ConfigError(
            f"--output={output} holds files that this command did not write "
            f"({', '.join(others[:3])}): give another folder"
        )


def _model_folder(scratch: str) -> str:
    if not is_checkpoint(FLAGS.model):
        return find_model_folder(FLAGS.model)
    from pix2seq_model.published.import_checkpoint import import_checkpoint

    import_checkpoint(FLAGS.model, scratch)
    if not read_model_info(scratch).categories:
        raise ConfigError(
            f"--model={FLAGS.model} is a checkpoint without names of its categories: import it "
            "with pipelines/import_checkpoint.py --categories=..., and give the model folder"
        )
    return scratch


def _source() -> tuple[str, SplitSource]:
    """The split to evaluate on, and where it is."""
    layout = recognise_splits(
        {"": FLAGS.images},
        {"": FLAGS.annotations} if FLAGS.annotations else {},
        wanted="" if FLAGS.dataset == AUTO else FLAGS.dataset,
    )
    print("\n".join(line for line in layout.lines if line != ALL_IS_TRAIN))
    return split_to_evaluate(layout, FLAGS.images, wanted=FLAGS.split)


def _settings(info: ModelInfo, split: str, given: Mapping[str, Any]) -> EvaluationSettings:
    """As the model was evaluated and is served, but for what is given."""
    known = {field.name for field in dataclasses.fields(EvaluationSettings)}
    decoding = {name: value for name, value in info.decoding_with(given).items() if name in known}
    return EvaluationSettings(
        split=split,
        resize=info.resize,
        **flag_values("batch_size", "precision", "num_pictures"),
        **decoding,
    )


if __name__ == "__main__":
    run_command(main, continues=True)
