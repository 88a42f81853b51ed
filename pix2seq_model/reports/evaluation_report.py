"""The evaluation report: one HTML file with everything in it, for a desk or a phone, no network.

It is rendered from what an evaluation stored and needs neither Keras nor TensorFlow.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from PIL import Image

from pix2seq_model.atomic_write import write_atomically
from pix2seq_model.data.ground_truth import read_images
from pix2seq_model.data.manifest import DatasetInfo, read_dataset_info
from pix2seq_model.decoding.attention_maps import TOKEN_NAMES, ImageAttention, read_attention
from pix2seq_model.errors import DataError
from pix2seq_model.json_file import parse_json, read_json
from pix2seq_model.metrics.analysis import MEANINGS, Analysis, analyse, confusion_matrix
from pix2seq_model.metrics.coco_files import (
    clipped_detections,
    read_detections,
    read_ground_truth,
    read_metrics,
)
from pix2seq_model.metrics.coco_metrics import (
    METRIC_MEANINGS,
    CocoResult,
    evaluate_detections,
    number,
)
from pix2seq_model.metrics.image_results import ImageResult, image_results
from pix2seq_model.metrics.score_thresholds import score_thresholds, threshold_curve
from pix2seq_model.metrics.timing import Timing, read_timing
from pix2seq_model.reports import drawing
from pix2seq_model.reports import evaluation_sections as sections
from pix2seq_model.reports.attention_pictures import object_pictures
from pix2seq_model.reports.gallery import choose_galleries
from pix2seq_model.reports.html import render_page
from pix2seq_model.reports.settings import NUM_PICTURES, REPORT_FILE

ImageReader = Callable[[Iterable[int]], Mapping[int, bytes]]

_GALLERIES = {
    "sample": ("A sample", "Images from all over the split, chosen without looking."),
    "best": ("Best", "Nearly everything found, little else."),
    "worst": ("Worst", "Most objects missed or much found that is not there."),
    "crowded": ("Crowded", "The images with the most objects."),
    "missed": ("Missed", "Of the truth only the objects that nothing found."),
    "alarms": ("False alarms", "Of the detections only those of nothing, the highest score first."),
}
_PICTURE_PIXELS = 480  # shown at about half of that
_PICTURE_FONT = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportInput:
    """What a report is made of.

    Attributes:
      title: of the page.
      facts: what people ask first (model, data set, split, date ...), in order.
      settings: of the evaluation and the training, flat, by name.
      ground_truth: checked COCO ground truth of the images evaluated.
      detections: checked COCO results, clipped to the images.
      result: the numbers.
      other_ap: AP of the same detections counted in other ways, by what these are called.
      published: AP of the same set-up as published, 0 to 1, and its name.
      histories: rows of the loss curves by stage.
      dataset: the data set's manifest.
      read_images: gives encoded images by id; no pictures without it.
      num_pictures: how many to show.
      attention: what the decoder looks at in some of the images.
      timing: how long the model took for an image.
    """

    title: str
    facts: Mapping[str, str]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ground_truth: Mapping[str, Any]
    detections: Sequence[dict[str, Any]]
    result: CocoResult
    other_ap: Mapping[str, float] = dataclasses.field(default_factory=dict)
    published: tuple[float, str] | None = None
    histories: Mapping[str, Sequence[Mapping[str, float]]] = dataclasses.field(default_factory=dict)
    dataset: DatasetInfo | None = None
    read_images: ImageReader | None = None
    num_pictures: int = NUM_PICTURES
    attention: Sequence[ImageAttention] = ()
    timing: Timing | None = None


def write_evaluation_report(
    evaluation_dir: epath.PathLike,
    *,
    examples_dir: epath.PathLike,
    model_dir: epath.PathLike,
    output_dir: epath.PathLike,
    num_pictures: int | None = None,
) -> epath.Path:
    """Writes `report.html` of a finished evaluation.

    Args:
      evaluation_dir: evaluation folder, see `evaluation.evaluate`.
      examples_dir: examples folder that was evaluated on, for the pictures.
      model_dir: model folder that was evaluated, for its loss curves.
      output_dir: folder to write; may be `evaluation_dir`.
      num_pictures: how many to show; what the evaluation's settings say if None.

    Returns:
      The file.

    Raises:
      DataError: the evaluation is not finished, or was made on other data.
    """
    folder = epath.Path(evaluation_dir)
    metrics = read_metrics(folder)
    dataset = read_dataset_info(examples_dir)
    split = metrics["split"]
    if metrics["data_fingerprint"] != dataset.fingerprint():
        raise DataError(
            f"{folder}: evaluated on other data than {examples_dir}; name the examples folder of "
            "this evaluation, or evaluate again"
        )
    truth = read_ground_truth(folder / "ground_truth.json")
    detections = shown = read_detections(folder / "detections.json", allow_negative=True)
    if not metrics["settings"]["clip_boxes"]:
        shown = clipped_detections(detections, truth["images"])
    report = ReportInput(
        title=f"{dataset.name}, {split}",
        facts=metrics["facts"],
        settings=read_settings(model_dir, metrics["settings"]),
        ground_truth=truth,
        detections=shown,
        result=evaluate_detections(truth, detections),
        other_ap=metrics["other_AP"],
        published=metrics["published"],
        histories=read_histories(model_dir),
        dataset=dataset,
        read_images=lambda ids: read_images(examples_dir, split, truth["images"], ids),
        num_pictures=metrics["settings"]["num_pictures"] if num_pictures is None else num_pictures,
        attention=read_attention(folder),
        timing=read_timing(folder),
    )
    path = epath.Path(output_dir) / REPORT_FILE
    write_atomically(path, render_report(report))
    return path


def render_report(report: ReportInput) -> str:
    """Returns the page as HTML text."""
    names = {row["id"]: row["name"] for row in report.ground_truth["categories"]}
    analysis = analyse(report.ground_truth, report.detections)
    threshold = analysis.point.threshold
    confusion = confusion_matrix(report.ground_truth, analysis, threshold=threshold)
    return render_page(
        REPORT_FILE,
        report=report,
        analysis=analysis,
        meanings=METRIC_MEANINGS,
        error_meanings=MEANINGS,
        curves=[
            *sections.loss_curves(report.histories),
            *sections.quality_curves(report.histories),
        ],
        f1_by_threshold=sections.f1_chart(threshold_curve(analysis), threshold),
        class_thresholds={row["name"]: row for row in score_thresholds(analysis, names)["classes"]},
        precision_recall=sections.precision_recall_curves(report.result),
        by_size=sections.ap_by_size(report.result.metrics),
        by_crowding=sections.ap_by_crowding(report.ground_truth, report.detections),
        calibration=sections.calibration_chart(analysis.calibration),
        errors=sections.error_chart(analysis.errors),
        confusion=sections.confusion_section(confusion, names),
        per_class=sorted(
            (row for row in report.result.per_class if row["num_objects"] or row["num_detections"]),
            key=lambda row: (-row["AP"], row["name"]),
        ),
        galleries=_galleries(report, analysis, names),
        attention=_attention(report),
        token_names=TOKEN_NAMES,
        coco=number,
    )


def read_histories(model_dir: epath.PathLike) -> dict[str, list[dict[str, float]]]:
    """The loss curves of the stages that made a model, in their order; none if it has none.

    A last line that a kill cut off is left out.
    """
    folder = epath.Path(model_dir) / "history"
    files = folder.iterdir() if folder.exists() else ()
    stages = {path.stem: path for path in files if path.suffix == ".jsonl"}
    histories: dict[str, list[dict[str, float]]] = {}
    order = [*sections.STAGE_NAMES, *sorted(stages)]
    for stage in sorted(stages, key=order.index):
        rows = histories[stage] = []
        for line in stages[stage].read_text().splitlines():
            with contextlib.suppress(DataError):
                rows.append(parse_json(line, source="", fix="", kind=dict, finite=False))
    return histories


def read_settings(model_dir: epath.PathLike, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a model was trained and evaluated with, as flat names in order.

    Those of a training are there if its model folder says of them.
    """
    sections: dict[str, Any] = {}
    run_file = epath.Path(model_dir) / "run.json"
    run: Any = None
    with contextlib.suppress(OSError, DataError):  # Shown only: the report can do without.
        run = read_json(run_file, fix="")
    if isinstance(run, Mapping):
        config = run.get("config", {})
        stage = run.get("stage", "")
        sections = {
            name: config[name] for name in ("seed", "vocabulary", "model", stage) if name in config
        }
    return dict(_flat("", {**sections, "evaluation": evaluation}))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for name, part in value.items():
        yield from _flat(f"{prefix}.{name}" if prefix else name, part)


def _galleries(
    report: ReportInput, analysis: Analysis, names: Mapping[int, str]
) -> list[tuple[str, str, list[tuple[str, Image.Image, Image.Image]]]]:
    """Title and note of each gallery; of its images a caption, the truth and the detections."""
    if report.read_images is None or report.num_pictures < 1:
        return []
    threshold = analysis.point.threshold
    chosen = choose_galleries(analysis, threshold=threshold, num_pictures=report.num_pictures)
    encoded = report.read_images([i for image_ids in chosen.values() for i in image_ids])
    results = {row.image_id: row for row in image_results(analysis, threshold=threshold)}
    galleries = []
    for key, image_ids in chosen.items():
        pictures = []
        for image_id in image_ids:
            if (image := _photograph(encoded, image_id)) is None:
                continue
            truth, found = (
                drawing.draw_boxes(
                    image, boxes, longer_side=_PICTURE_PIXELS, font_size=_PICTURE_FONT
                )
                for boxes in _boxes(analysis, names, key, image_id)
            )
            caption = f"{_file_name(report, image_id)}: {_outcome(results[image_id])}"
            pictures.append((caption, truth, found))
        if pictures:
            galleries.append((*_GALLERIES[key], pictures))
    return galleries


def _attention(report: ReportInput) -> list[dict[str, Any]]:
    """For each image with stored attention: pictures of the first objects and of given boxes."""
    if not report.attention or report.read_images is None or not report.num_pictures:
        return []
    encoded = report.read_images([image.image_id for image in report.attention])
    figures = []
    for image in report.attention:
        if (photograph := _photograph(encoded, image.image_id)) is None:
            continue
        drawn = {
            kind: [(seen, object_pictures(photograph, image, seen)) for seen in objects]
            for kind, objects in (("found", image.found), ("given", image.given))
        }
        figures.append({"caption": _file_name(report, image.image_id), **drawn})
    return figures


def _photograph(encoded: Mapping[int, bytes], image_id: int) -> Image.Image | None:
    """None where it is missing or damaged: the report can do without one picture."""
    with contextlib.suppress(KeyError, DataError):
        return drawing.read_rgb(encoded[image_id])
    return None


def _file_name(report: ReportInput, image_id: int) -> str:
    """Without its folders; the id where there is none."""
    row = next(row for row in report.ground_truth["images"] if row["id"] == image_id)
    return row.get("file_name", "").rsplit("/", 1)[-1] or str(image_id)


def _boxes(
    analysis: Analysis, names: Mapping[int, str], gallery: str, image_id: int
) -> tuple[list[drawing.LabelledBox], list[drawing.LabelledBox]]:
    """Truth and detections to draw on an image: all of them, or those that a gallery is about."""
    gt, dt = analysis.gt_image == image_id, analysis.dt_image == image_id
    dt &= analysis.dt_score >= analysis.point.threshold
    if gallery == "missed":
        gt &= analysis.gt_missed
    if gallery == "alarms":
        dt &= analysis.dt_alarm
    truth = [analysis.objects[i] for i in gt.nonzero()[0]]
    found = [analysis.detections[i] for i in dt.nonzero()[0]]
    return drawing.truth_boxes(truth, names), drawing.detection_boxes(found, names)


def _outcome(result: ImageResult) -> str:
    found = f"{result.num_found} of {result.num_objects} found"
    return f"{found if result.num_objects else 'no objects'}, {result.num_false} wrong"
