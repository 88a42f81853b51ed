"""Evaluates a model folder on a split: detections of every image, COCO numbers, attention.

<output>/ground_truth.json              COCO annotations
<output>/detections.json                COCO results
<output>/timing.json                    milliseconds an image, where this process decoded
<output>/attention.json, attention.npz  what the decoder looks at in some images
<output>/metrics.json                   the numbers, and what a report says of model, data and
                                        settings; written last: with it the folder is complete
"""

import dataclasses
import datetime
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from etils import epath

from pix2seq_model.atomic_write import write_json
from pix2seq_model.data.annotated_split import with_annotations
from pix2seq_model.data.annotation_file import read_annotation_file
from pix2seq_model.data.ground_truth import SplitTruth, read_split_truth
from pix2seq_model.data.manifest import DatasetInfo, read_dataset_info
from pix2seq_model.decoding.attention_maps import write_attention
from pix2seq_model.errors import DataError
from pix2seq_model.evaluation.attention import attention_of_chosen_images
from pix2seq_model.evaluation.detection_store import DetectionStore, fingerprint_of
from pix2seq_model.evaluation.settings import EvaluationSettings
from pix2seq_model.metrics.analysis import analyse
from pix2seq_model.metrics.coco_files import (
    METRICS_FILE,
    checked_detections,
    clipped_detections,
)
from pix2seq_model.metrics.coco_metrics import evaluate_detections
from pix2seq_model.metrics.score_thresholds import score_thresholds
from pix2seq_model.metrics.timing import BatchTimes, Timing, write_timing
from pix2seq_model.model_folder.folder import ModelInfo, load_model_folder, read_model_info
from pix2seq_model.progress import DetectionProgress
from pix2seq_model.published.results import published_ap

# Settings that decide, besides those of decoding, what is found.
_DECIDE = ("seed", "batch_size", "precision", "resize", "clip_boxes")
DETECTIONS_FILE = "detections.json"
GROUND_TRUTH_FILE = "ground_truth.json"

# Detections of a split: COCO results with the ids of `truth.coco`, and the image ids of the
# records, in the records' order.
Detections = tuple[list[dict[str, Any]], list[str]]


def evaluate_model(
    model_dir: epath.PathLike,
    examples_dir: epath.PathLike,
    *,
    split: str,
    settings: EvaluationSettings,
    output_dir: epath.PathLike,
    stream: TextIO | None = None,
    detect: Callable[[SplitTruth], Detections] | None = None,
    categories_by_name: bool = False,
) -> dict[str, Any]:
    """Evaluates a model and writes the evaluation folder.

    Detections are kept while they are made, under a fingerprint of model, data and settings: the
    same call after an interruption continues where it stopped.

    Args:
      model_dir: model folder.
      examples_dir: examples folder.
      split: which split of it.
      settings: see there.
      output_dir: evaluation folder to write.
      stream: where to show progress; standard error if None.
      detect: finds the detections elsewhere; takes the truth.
      categories_by_name: the data may number the model's categories differently: the name says
        which is which. Those that the model does not know count as missed.

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
    if settings.ground_truth:
        truth = with_annotations(truth, read_annotation_file(settings.ground_truth))
    info = read_model_info(str(model_dir))
    if categories_by_name:
        truth = with_categories_by_name(truth, info, model_dir=str(model_dir))
    else:
        _check_categories(info, dataset, str(model_dir), str(examples_dir))

    @functools.cache  # TensorFlow and Keras take seconds to import: not all evaluations need them.
    def load_network() -> tuple[Any, ModelInfo]:
        return load_model_folder(str(model_dir), precision=settings.precision)

    store, times = None, BatchTimes()
    if detect is not None:
        rows, image_ids = detect(truth)
        rows = checked_detections(
            rows,
            image_ids=truth.image_numbers.values(),
            allow_negative=not settings.clip_boxes,
        )
    else:
        fingerprint = fingerprint_of(
            model=info.weights_sha256,
            architecture=dataclasses.asdict(info.model),
            data=dataset.fingerprint(),
            split=split,
            settings={**settings.decoding(), **{name: getattr(settings, name) for name in _DECIDE}},
        )
        store = DetectionStore(output / "unfinished" / fingerprint[:16])
        rows, image_ids = _detect_here(
            load_network, truth, settings=settings, store=store, times=times, stream=stream
        )
    check_every_image_once(image_ids, truth)

    shown = rows if settings.clip_boxes else clipped_detections(rows, truth.coco["images"])
    if store is None or len(times):
        write_timing(output, _timing(times, settings))
    write_json(output / GROUND_TRUTH_FILE, truth.coco)
    write_json(output / DETECTIONS_FILE, rows)
    attention = attention_of_chosen_images(load_network, truth, detections=shown, settings=settings)
    write_attention(output, attention)
    metrics = {
        **_measured(truth, rows, shown),
        "split": split,
        "model_sha256": info.weights_sha256,
        "data_fingerprint": dataset.fingerprint(),
        "settings": dataclasses.asdict(settings),
        "facts": _facts(info, dataset, split, settings),
        "published": _published(info, truth),
    }
    write_json(output / METRICS_FILE, metrics)
    if store is not None:
        store.clear()
    return metrics


def _measured(
    truth: SplitTruth, rows: list[dict[str, Any]], shown: list[dict[str, Any]]
) -> dict[str, Any]:
    """COCO's numbers of what was found, and the thresholds of what is shown of it."""
    result = evaluate_detections(truth.coco, rows)
    other_ap = {}
    if shown is not rows:
        clipped = evaluate_detections(truth.coco, shown)
        other_ap["boxes clipped to the image"] = clipped.metrics["AP"]
    return {
        **result.to_json(),
        "other_AP": other_ap,
        "score_thresholds": score_thresholds(analyse(truth.coco, shown), truth.category_names),
    }


def _published(info: ModelInfo, truth: SplitTruth) -> list[Any] | None:
    """What was published of such a network on such data."""
    published = published_ap(
        info.model,
        num_bins=info.vocabulary.num_bins,
        category_ids=truth.category_names,
        num_images=len(truth.image_numbers),
    )
    return list(published) if published else None


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


def _detect_here(
    load_network: Callable[[], tuple[Any, ModelInfo]],
    truth: SplitTruth,
    *,
    settings: EvaluationSettings,
    store: DetectionStore,
    times: BatchTimes,
    stream: TextIO | None,
) -> Detections:
    """Detects in this process, continuing after what is stored."""
    rows, image_ids = store.load()
    total = len(truth.image_numbers)
    if len(image_ids) == total:
        return rows, image_ids
    from pix2seq_model.evaluation.detection import detect_split

    label, start = f"evaluating on {truth.split}", len(image_ids)
    progress = DetectionProgress(label, total=total, done=start, stream=stream)
    network, _ = load_network()
    batches = detect_split(network, truth, settings=settings, start=start, times=times)
    for new_rows, new_ids in batches:
        store.add(new_rows, new_ids)
        rows += new_rows
        image_ids += new_ids
        progress.update(len(image_ids))
    store.flush()
    progress.close()
    return rows, image_ids


def _timing(times: BatchTimes, settings: EvaluationSettings) -> Timing | None:
    if not len(times):
        return None
    import keras

    from pix2seq_model.accelerators import local_devices

    devices = local_devices()
    return times.timing(
        batch_size=settings.batch_size,
        backend=keras.backend.backend(),
        device=f"{os.cpu_count()} processor cores" if devices.platform == "cpu" else devices.text(),
    )


def with_categories_by_name(truth: SplitTruth, info: ModelInfo, *, model_dir: str) -> SplitTruth:
    """The truth with the model's category ids for its categories, found by their names.

    Raises:
      DataError: model and data have no name in common, or several categories one name.
    """
    numbers: dict[str, int] = {}
    for number, name in truth.category_names.items():
        if numbers.setdefault(name.strip(), number) != number:
            raise DataError(
                f"{truth.examples_dir}: categories {numbers[name.strip()]} and {number} are both "
                f"called {name!r}: give each a name of its own"
            )
    category_ids = {
        category_id: numbers[name.strip()]
        for category_id, name in info.category_names.items()
        if name.strip() in numbers
    }
    if not category_ids:
        raise DataError(
            f"the model {model_dir} knows {_some(info.category_names.values())}, the data "
            f"{truth.examples_dir} have {_some(truth.category_names.values())}: no name is in both"
        )
    return dataclasses.replace(truth, category_numbers=category_ids)


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")


def _check_categories(
    info: ModelInfo, dataset: DatasetInfo, model_dir: str, examples_dir: str
) -> None:
    """A category id must mean the same to the model and to the data."""
    ours, theirs = info.category_names, dataset.category_names()
    for category_id in sorted(ours.keys() & theirs.keys()):
        if ours[category_id].strip() != theirs[category_id].strip():
            raise DataError(
                f"category {category_id} is {ours[category_id]!r} to the model {model_dir} and "
                f"{theirs[category_id]!r} in the data {examples_dir}: evaluate a model on data of "
                "the categories it was trained on"
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
        "Images": "resized with antialias"
        if settings.resize == "antialias"
        else "resized without antialias; what antialias would give takes decoding again",
        "Truth": settings.ground_truth or "what the records hold of it",
        "Made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    if info.source:
        facts["Weights"] += f"; {info.source}"
    return facts
