"""Evaluates a model folder on a split: detections of every image, COCO numbers, a report.

<output>/ground_truth.json   COCO annotations
<output>/detections.json     COCO results
<output>/report.html         for people
<output>/metrics.json        the numbers; written last: with it the folder is complete
"""

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from etils import epath

from pix2seq_model.atomic_write import write_atomically, write_json
from pix2seq_model.data.ground_truth import SplitTruth, read_images, read_split_truth
from pix2seq_model.data.manifest import DatasetInfo, read_dataset_info
from pix2seq_model.errors import DataError
from pix2seq_model.evaluation.detection_store import DetectionStore, fingerprint_of
from pix2seq_model.evaluation.evaluated_network import LazyNetwork
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.metrics.coco_files import checked_detections, checked_ground_truth
from pix2seq_model.metrics.coco_metrics import evaluate_detections
from pix2seq_model.model_folder.folder import HISTORY_FOLDER, ModelInfo, read_model_info
from pix2seq_model.progress import DetectionProgress
from pix2seq_model.published.results import published_ap
from pix2seq_model.reports.evaluation_report import ReportInput, render_report
from pix2seq_model.reports.evaluation_sections import read_history

if TYPE_CHECKING:
    from pix2seq_model.reports.attention_pictures import AttentionFigures

METRICS_FILE = "metrics.json"
DETECTIONS_FILE = "detections.json"
GROUND_TRUTH_FILE = "ground_truth.json"
REPORT_FILE = "report.html"

_STAGES = ("pretrain", "finetune")


def evaluate_model(
    model_dir: epath.PathLike,
    examples_dir: epath.PathLike,
    *,
    split: str,
    settings: EvaluationSettings,
    output_dir: epath.PathLike,
    cache_dir: epath.PathLike | None = None,
    title: str | None = None,
    stream: TextIO | None = None,
    detect: Callable[[SplitTruth], tuple[list[dict[str, Any]], list[str]]] | None = None,
) -> dict[str, Any]:
    """Evaluates a model and writes the evaluation folder.

    Detections are kept while they are made, under a fingerprint of model, data and settings: the
    same call after an interruption goes on where it stopped.

    Args:
      model_dir: model folder.
      examples_dir: examples folder.
      split: which split of it.
      settings: see there.
      output_dir: evaluation folder to write.
      cache_dir: where to keep unfinished work; inside `output_dir` if None.
      title: of the report; model and split if None.
      stream: where to show progress; standard error if None.
      detect: finds the detections elsewhere: takes the truth, returns COCO results with the ids of
        `truth.coco` and the image ids of the records, in the records' order.

    Returns:
      The content of metrics.json.

    Raises:
      ModelError: the model folder cannot be used.
      DataError: the examples folder cannot be used, its categories are not the model's, or the
        images that were decoded are not those of the manifest.
    """
    output = epath.Path(output_dir)
    dataset = read_dataset_info(examples_dir)
    truth = read_split_truth(examples_dir, split)
    info = read_model_info(str(model_dir))
    _check_categories(info, dataset, str(model_dir), str(examples_dir))

    network = _network(model_dir, settings)
    store = None
    if detect is not None:
        rows, image_ids = detect(truth)
    else:
        fingerprint = fingerprint_of(
            model=info.weights_sha256,
            architecture=dataclasses.asdict(info.model),
            data=dataset.fingerprint(),
            split=split,
            settings={**settings.decoding(), "seed": settings.seed, "batch": settings.batch_size},
        )
        store = DetectionStore(epath.Path(cache_dir or output / "unfinished") / fingerprint[:16])
        rows, image_ids = _detect_all(network, examples_dir, split, truth, store, stream)
    check_every_image_once(image_ids, truth)

    metrics = write_evaluation(
        output,
        truth=truth,
        detections=rows,
        model_dir=model_dir,
        dataset=dataset,
        split=split,
        settings=settings,
        title=title,
        attention=network.attention,
    )
    if store is not None:
        store.clear()
    return metrics


def write_evaluation(
    output_dir: epath.PathLike,
    *,
    truth: SplitTruth,
    detections: list[dict[str, Any]],
    model_dir: epath.PathLike,
    dataset: DatasetInfo,
    split: str,
    settings: EvaluationSettings,
    title: str | None = None,
    attention: "AttentionFigures | None" = None,
) -> dict[str, Any]:
    """Writes the evaluation folder from detections, however they were made.

    Args:
      output_dir: the folder.
      truth: of the split.
      detections: COCO results with the ids of `truth.coco`.
      model_dir: model folder, for what the report says of it.
      dataset: manifest of the data.
      split: that was evaluated.
      settings: that were used.
      title: of the report.
      attention: makes the pictures of attention; the model is loaded for them if None.

    Returns:
      The content of metrics.json.
    """
    output = epath.Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    info = read_model_info(str(model_dir))
    ground_truth = checked_ground_truth(truth.coco)
    rows = checked_detections(detections)
    result = evaluate_detections(ground_truth, rows)
    write_json(output / GROUND_TRUTH_FILE, truth.coco)
    write_json(output / DETECTIONS_FILE, rows)
    page = render_report(
        ReportInput(
            title=title or f"{dataset.name}, {split}",
            facts=_facts(info, dataset, split, settings),
            ground_truth=ground_truth,
            detections=rows,
            result=result,
            published=published_ap(
                info.model,
                category_ids=truth.category_names,
                num_images=len(truth.image_numbers),
            ),
            histories=read_histories(model_dir),
            dataset=dataset,
            read_images=lambda image_ids: read_images(truth, image_ids),
            num_pictures=settings.num_pictures,
            attention=attention or _network(model_dir, settings).attention,
            num_attention_pictures=settings.num_attention_pictures,
        )
    )
    write_atomically(output / REPORT_FILE, page)
    metrics = {
        **result.to_json(),
        "split": split,
        "model_sha256": info.weights_sha256,
        "data_fingerprint": dataset.fingerprint(),
        "settings": dataclasses.asdict(settings),
    }
    write_json(output / METRICS_FILE, metrics)
    return metrics


def read_metrics(evaluation_dir: epath.PathLike) -> dict[str, Any]:
    """Reads metrics.json of an evaluation folder.

    Raises:
      DataError: the folder is not complete.
    """
    path = epath.Path(evaluation_dir) / METRICS_FILE
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: no finished evaluation ({error}); evaluate again") from None


def check_every_image_once(image_ids: list[str], truth: SplitTruth) -> None:
    """Raises DataError unless `image_ids` are the split's images, each once."""
    expected, seen = set(truth.image_numbers), set(image_ids)
    twice = len(image_ids) - len(seen)
    if twice or seen != expected:
        raise DataError(
            f"of {len(expected)} images in the manifest {len(expected - seen)} were not decoded, "
            f"{len(seen - expected)} unknown ones were and {twice} were decoded more than once; "
            "did the examples folder change meanwhile? Evaluate again"
        )


def read_histories(model_dir: epath.PathLike) -> dict[str, list[dict[str, float]]]:
    """The loss curves of the stages that made a model, in their order; none if it has none."""
    folder = epath.Path(model_dir) / HISTORY_FOLDER
    if not folder.exists():
        return {}
    files = {path.stem: path for path in folder.iterdir() if path.suffix == ".jsonl"}
    order = [stage for stage in _STAGES if stage in files]
    order += sorted(set(files) - set(order))
    return {stage: read_history(files[stage].read_text()) for stage in order}


def _network(model_dir: epath.PathLike, settings: EvaluationSettings) -> LazyNetwork:
    return LazyNetwork(
        model_dir,
        precision=settings.precision,
        decoding={
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            **settings.decoding(),
        },
    )


def _detect_all(
    lazy: LazyNetwork,
    examples_dir: epath.PathLike,
    split: str,
    truth: SplitTruth,
    store: DetectionStore,
    stream: TextIO | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """COCO rows and image ids of a split, going on after what is stored."""
    rows, image_ids = store.load()
    if len(image_ids) == len(truth.image_numbers):
        return rows, image_ids
    progress = DetectionProgress(
        f"evaluating on {split}",
        total=len(truth.image_numbers),
        done=len(image_ids),
        stream=stream,
    )
    for new_rows, new_ids in _detect(lazy, examples_dir, split, truth, done=len(image_ids)):
        store.add(new_rows, new_ids)
        rows += new_rows
        image_ids += new_ids
        progress.update(len(image_ids))
    store.flush()
    progress.close()
    return rows, image_ids


def _detect(
    lazy: LazyNetwork,
    examples_dir: epath.PathLike,
    split: str,
    truth: SplitTruth,
    *,
    done: int,
) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Yields COCO rows and image ids of the records, by batch, after the first `done` images."""
    from pix2seq_model.data.damage import reading_errors_named
    from pix2seq_model.decoding.detector import Detector
    from pix2seq_model.input_pipeline.datasets import evaluation_dataset

    network, info = lazy.loaded
    detector = Detector(network, **lazy.decoding)
    batches = evaluation_dataset(
        examples_dir,
        split=split,
        image_size=info.model.image_size,
        batch_size=lazy.decoding["batch_size"],
        start=done,
    )
    with reading_errors_named(examples_dir, split):
        for batch in batches.as_numpy_iterator():
            image_ids = [image_id.decode() for image_id in batch["image_id"]]
            rows = detector.detect(
                batch["image"],
                image_ids=[truth.image_numbers[image_id] for image_id in image_ids],
                source_size=batch["source_size"],
                content_size=batch["content_size"],
                category_numbers=truth.category_numbers,
            )
            yield rows, image_ids


def _check_categories(
    info: ModelInfo, dataset: DatasetInfo, model_dir: str, examples_dir: str
) -> None:
    """A class id must mean the same to the model and to the data."""
    ours, theirs = info.category_names, dataset.category_names()
    for class_id in sorted(ours.keys() & theirs.keys()):
        if ours[class_id].strip() != theirs[class_id].strip():
            raise DataError(
                f"category {class_id} is {ours[class_id]!r} to the model {model_dir} and "
                f"{theirs[class_id]!r} in the data {examples_dir}: evaluate a model on data of the "
                "categories it was trained on"
            )
    if ours and not ours.keys() & theirs.keys():
        raise DataError(
            f"the model {model_dir} and the data {examples_dir} have no category in common"
        )


def _facts(
    info: ModelInfo, dataset: DatasetInfo, split: str, settings: EvaluationSettings
) -> dict[str, str]:
    height, width = info.model.image_size
    backbone = "ViT" if info.model.backbone == "vit" else f"ResNet-{info.model.resnet_depth}"
    sampling = "greedy" if settings.top_k == 1 else f"nucleus {settings.top_p:g}"
    facts = {
        "Data": f"{dataset.name}, split {split}: {dataset.split(split).num_examples:,} images, "
        f"{dataset.split(split).num_objects:,} objects, {len(dataset.categories)} categories",
        "Model": f"{backbone} at {height}×{width} px; encoder of {info.model.num_encoder_layers} "
        f"layers, decoder of {info.model.num_decoder_layers}; "
        f"{info.vocabulary.num_bins} coordinate bins",
        "Weights": f"sha256 {info.weights_sha256[:12]}",
        "Decoding": f"{settings.max_objects} objects an image, {sampling}, seed {settings.seed}, "
        f"{settings.precision}",
        "Made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    if info.source:
        facts["Weights"] += f"; {info.source}"
    return facts
