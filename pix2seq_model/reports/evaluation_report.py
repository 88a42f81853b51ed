"""The evaluation report: one HTML file with everything in it, for a desk or a phone, no network."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pix2seq_model.data.manifest import DatasetInfo
from pix2seq_model.errors import DataError
from pix2seq_model.metrics.calibration import OperatingPoint, best_operating_point, calibrate
from pix2seq_model.metrics.coco_metrics import (
    METRIC_MEANINGS,
    CocoResult,
    evaluate_detections,
    number,
)
from pix2seq_model.metrics.confusion import confusion_matrix
from pix2seq_model.metrics.error_analysis import ErrorAnalysis, analyse_errors
from pix2seq_model.metrics.matching import Matching, match_detections
from pix2seq_model.reports import drawing
from pix2seq_model.reports import evaluation_sections as sections
from pix2seq_model.reports.gallery import ImageResult, choose_galleries, image_results
from pix2seq_model.reports.html import render_page

if TYPE_CHECKING:
    # They need Keras; a report of detections alone does not.
    from pix2seq_model.reports.attention_pictures import AttentionFigures, ObjectAttention

ImageReader = Callable[[Iterable[int]], Mapping[int, bytes]]

_GALLERIES = {
    "sample": ("A sample", "Images from all over the split, chosen without looking."),
    "best": ("Best", "Nearly everything found, little else."),
    "worst": ("Worst", "Most objects missed or much found that is not there."),
    "crowded": ("Crowded", "The images with the most objects."),
    "missed": ("Missed", "Of the truth only the objects that nothing found."),
    "alarms": ("False alarms", "Of the detections only those of nothing, the surest first."),
}
_CROWDING = ((1, 2), (3, 5), (6, 10), (11, 20), (21, None))  # objects in an image, inclusive
_PICTURE_PIXELS = 480  # shown at about half of that
_PICTURE_FONT = 16
_GIVEN_BOXES = 5  # of an image, whose class the decoder is asked for


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportInput:
    """What a report is made of.

    Attributes:
      title: of the page.
      facts: what people ask first (model, data set, split, date ...), in order.
      ground_truth: checked COCO ground truth of the images evaluated.
      detections: checked COCO results.
      result: their numbers.
      published: AP of the same set-up as published, 0 to 1, and its name.
      histories: rows of the loss curves by stage.
      dataset: the data set's manifest.
      read_images: gives encoded images by id; no pictures without it.
      num_pictures: how many to show.
      attention: makes pictures of what the decoder looks at; none without it.
      num_attention_pictures: of how many images.
    """

    title: str
    facts: Mapping[str, str]
    ground_truth: Mapping[str, Any]
    detections: Sequence[Mapping[str, Any]]
    result: CocoResult
    published: tuple[float, str] | None = None
    histories: Mapping[str, Sequence[Mapping[str, float]]] = dataclasses.field(default_factory=dict)
    dataset: DatasetInfo | None = None
    read_images: ImageReader | None = None
    num_pictures: int = 24
    attention: "AttentionFigures | None" = None
    num_attention_pictures: int = 2


def render_report(report: ReportInput) -> str:
    """Returns the page as HTML text."""
    names = {row["id"]: row["name"] for row in report.ground_truth["categories"]}
    matching = match_detections(report.ground_truth, report.detections)
    errors = analyse_errors(matching)
    point = best_operating_point(matching)
    calibration = calibrate(matching)
    context = {
        "title": report.title,
        "facts": report.facts,
        "metrics": report.result.metrics,
        "meanings": METRIC_MEANINGS,
        "num_images": report.result.num_images,
        "num_detections": report.result.num_detections,
        "ignored_categories": report.result.ignored_categories,
        "published": report.published,
        "point": point,
        "operating": sections.operating_text(point),
        "curves": sections.loss_curves(report.histories),
        "precision_recall": sections.precision_recall_curves(report.result),
        "by_size": sections.ap_by_size(report.result.metrics),
        "by_crowding": _ap_by_crowding(report),
        "calibration": sections.calibration_chart(calibration),
        "calibration_error": calibration.error,
        "errors": sections.error_section(errors),
        "confusion": sections.confusion_section(
            confusion_matrix(matching, threshold=point.threshold), names
        ),
        "per_class": sorted(
            (row for row in report.result.per_class if row["num_objects"] or row["num_detections"]),
            key=lambda row: (-row["AP"], row["name"]),
        ),
        "num_classes": len(report.result.per_class),
        "galleries": _galleries(report, matching, errors, point),
        "attention": _attention(report, matching, point),
        "token_names": ("ymin", "xmin", "ymax", "xmax", "class"),
        "data": sections.data_section(report.dataset) if report.dataset else [],
        "dataset": report.dataset,
    }
    return render_page("report.html", context, filters={"coco": number})


def _ap_by_crowding(report: ReportInput) -> str:
    objects = Counter(
        row["image_id"] for row in report.ground_truth["annotations"] if not row["iscrowd"]
    )
    groups = []
    for low, high in _CROWDING:
        ids = [i for i, n in objects.items() if n >= low and (high is None or n <= high)]
        if ids:
            part = evaluate_detections(report.ground_truth, report.detections, image_ids=ids)
            label = f"{low}+" if high is None else f"{low}–{high}"
            groups.append((label, len(ids), part.metrics["AP"]))
    return sections.ap_by_crowding(groups) if groups else ""


def _galleries(
    report: ReportInput, matching: Matching, errors: ErrorAnalysis, point: OperatingPoint
) -> list[dict[str, Any]]:
    if report.read_images is None or report.num_pictures < 1:
        return []
    chosen = choose_galleries(
        matching, errors, threshold=point.threshold, num_pictures=report.num_pictures
    )
    encoded = report.read_images([i for gallery in chosen for i in gallery.image_ids])
    results = {row.image_id: row for row in image_results(matching, threshold=point.threshold)}
    files = {row["id"]: row.get("file_name", "") for row in report.ground_truth["images"]}
    galleries = []
    for gallery in chosen:
        title, note = _GALLERIES[gallery.key]
        pictures = []
        for image_id in gallery.image_ids:
            try:
                image = drawing.read_rgb(encoded[image_id], source=files[image_id])
            except (KeyError, DataError):
                continue  # the report can do without one picture
            truth, found = _boxes(report, matching, errors, gallery.key, image_id, point.threshold)
            pair = [
                drawing.draw_boxes(
                    image, boxes, longer_side=_PICTURE_PIXELS, font_size=_PICTURE_FONT
                )
                for boxes in (truth, found)
            ]
            pictures.append(
                {
                    "truth": drawing.data_uri(pair[0]),
                    "detections": drawing.data_uri(pair[1]),
                    "width": pair[0].width,
                    "height": pair[0].height,
                    "caption": _caption(files[image_id] or str(image_id), results[image_id]),
                }
            )
        if pictures:
            galleries.append({"title": title, "note": note, "pictures": pictures})
    return galleries


def _attention(
    report: ReportInput, matching: Matching, point: OperatingPoint
) -> list[dict[str, Any]]:
    """For the images in which most was found: attention to the first objects and to given boxes."""
    if report.attention is None or report.read_images is None or not report.num_pictures:
        return []
    results = [r for r in image_results(matching, threshold=point.threshold) if r.num_objects]
    results.sort(key=lambda r: (-r.num_found, r.num_false))
    chosen = [r.image_id for r in results[: report.num_attention_pictures]]
    encoded = report.read_images(chosen)
    files = {row["id"]: row.get("file_name", "") for row in report.ground_truth["images"]}
    figures = []
    for image_id in chosen:
        try:
            drawing.read_rgb(encoded[image_id], source=files[image_id])
        except (KeyError, DataError):
            continue  # as with the galleries
        truth = matching.gt_box[(matching.gt_image == image_id) & ~matching.gt_crowd]
        found, given = report.attention(
            encoded[image_id], truth[:_GIVEN_BOXES].tolist(), point.threshold
        )
        figures.append(
            {
                "caption": files[image_id].rsplit("/", 1)[-1] or str(image_id),
                "found": [_attention_row(row) for row in found],
                "given": [_attention_row(row) for row in given],
            }
        )
    return figures


def _attention_row(row: "ObjectAttention") -> dict[str, Any]:
    return {
        "name": row.name,
        "score": row.score,
        "pictures": [
            {
                "uri": drawing.data_uri(part.picture),
                "width": part.picture.width,
                "height": part.picture.height,
                "token": part.token,
            }
            for part in row.pictures
        ],
    }


def _boxes(
    report: ReportInput,
    matching: Matching,
    errors: ErrorAnalysis,
    gallery: str,
    image_id: int,
    threshold: float,
) -> tuple[list[drawing.LabelledBox], list[drawing.LabelledBox]]:
    """Truth and detections to draw on an image: all of them, or those that a gallery is about."""
    names = {row["id"]: row["name"] for row in report.ground_truth["categories"]}
    gt, dt = matching.gt_image == image_id, matching.dt_image == image_id
    dt &= matching.dt_score >= threshold
    if gallery == "missed":
        gt &= errors.missed
    if gallery == "alarms":
        dt &= (errors.kind == "background") | (errors.kind == "both")
    truth = [
        {
            "bbox": matching.gt_box[i].tolist(),
            "category_id": int(matching.gt_category[i]),
            "iscrowd": bool(matching.gt_crowd[i]),
        }
        for i in gt.nonzero()[0]
    ]
    found = [
        {
            "bbox": matching.dt_box[i].tolist(),
            "category_id": int(matching.dt_category[i]),
            "score": float(matching.dt_score[i]),
        }
        for i in dt.nonzero()[0]
    ]
    return drawing.truth_boxes(truth, names), drawing.detection_boxes(found, names)


def _caption(file_name: str, result: ImageResult) -> str:
    found = f"{result.num_found} of {result.num_objects} found"
    if not result.num_objects:
        found = "no objects"
    return f"{file_name.rsplit('/', 1)[-1]}: {found}, {result.num_false} wrong"
