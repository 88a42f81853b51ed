"""The charts and the matrix of the evaluation report; `evaluation_report` puts them on a page."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pix2seq_model.metrics.analysis import KINDS, Calibration, Confusion, Errors
from pix2seq_model.metrics.coco_metrics import (
    IOU_THRESHOLDS,
    RECALL_THRESHOLDS,
    CocoResult,
    Detections,
    GroundTruth,
    evaluate_detections,
    number,
)
from pix2seq_model.metrics.score_thresholds import ThresholdCurve
from pix2seq_model.reports import charts

STAGE_NAMES = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}
_MAX_POINTS = 400  # of a loss curve: finer than a screen shows
_PR_IOUS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
_MATRIX_CLASSES = 20  # a larger matrix cannot be read
# Objects in an image, inclusive.
_CROWDING = ((1, 2), (3, 5), (6, 10), (11, 20), (21, math.inf))


def loss_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> list[tuple[str, str, str]]:
    """Title, note and SVG of a chart for each stage. Stages without rows are left out."""
    curves = []
    for index, (stage, rows) in enumerate(histories.items()):
        points = np.array([(row["step"], row["loss"]) for row in rows if "loss" in row], float)
        if not len(points):
            continue
        name = STAGE_NAMES.get(stage, stage)
        (first, first_loss), (last, last_loss) = points[0], points[-1]
        note = f"loss {first_loss:.3f} at step {first:,.0f}, {last_loss:.3f} at step {last:,.0f}"
        # Each point shown is the mean of its neighbours.
        parts = np.array_split(points, min(len(points), _MAX_POINTS))
        steps, losses = np.array([part.mean(axis=0) for part in parts]).T
        svg = charts.line_chart(
            [charts.Line("", steps, losses, color=charts.COLORS[index % 8])],
            title=f"{name}: training loss by step",
            xlabel="step",
            ylabel="training loss",
        )
        curves.append((name, note, svg))
    return curves


def quality_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> list[tuple[str, str, str]]:
    """AP and validation loss of the evaluations while training: title, note and SVG of charts."""
    curves = []
    for stage, rows in histories.items():
        name = STAGE_NAMES.get(stage, stage)
        for key, what, best_of in (("AP", "AP", max), ("validation_loss", "validation loss", min)):
            points = [(row["step"], row[key]) for row in rows if row.get(key, -1) >= 0]
            if not points:
                continue
            steps, values = np.array(points, float).T
            best = int(np.flatnonzero(values == best_of(values))[-1])  # As `keep_best` does.
            note = f"best {values[best]:.3f} at step {steps[best]:,.0f}"
            lines = [charts.Line(what, steps, values)]
            if key == "validation_loss":
                trained = np.array([(row["step"], row["loss"]) for row in rows if "loss" in row])
                if len(trained):
                    color = charts.MUTED
                    x, y = trained.T
                    lines.append(charts.Line("training loss", x, y, color=color, dashed=True))
            svg = charts.line_chart(
                lines,
                title=f"{name}: {what} by step",
                xlabel="step",
                ylabel=what,
                markers=True,
                **({"ylim": (0, charts.top_of(values))} if key == "AP" else {}),
            )
            curves.append((f"{name}: {what}", note, svg))
    return curves


def f1_chart(curve: ThresholdCurve, best: float) -> str:
    """Precision, recall and F1 by score threshold; empty without detections or objects."""
    if not len(curve.threshold):
        return ""
    lines = [
        charts.Line("F1", curve.threshold, curve.f1),
        charts.Line("precision", curve.threshold, curve.precision, color=charts.COLORS[1]),
        charts.Line("recall", curve.threshold, curve.recall, color=charts.COLORS[2]),
        charts.Line("", (best, best), (0, 1), color=charts.MUTED, dashed=True),
    ]
    return charts.line_chart(
        lines,
        title="Precision, recall and F1 by score threshold; the dashed line is the best F1",
        xlabel="least score",
        ylabel="share",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )


def precision_recall_curves(result: CocoResult) -> str:
    """Mean over the classes that have objects, at several IoUs; empty where none has."""
    present = result.precision[0, 0] > -1  # (classes,)
    if not present.any():
        return ""
    lines = [
        charts.Line(
            f"IoU {iou:.2f}",
            RECALL_THRESHOLDS,
            result.precision[int(np.argmin(np.abs(IOU_THRESHOLDS - iou)))][:, present].mean(axis=1),
            color=charts.COLORS[index],
        )
        for index, iou in enumerate(_PR_IOUS)
    ]
    return charts.line_chart(
        lines,
        title="Precision by recall at several IoU thresholds, mean over classes",
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )


def ap_by_size(metrics: Mapping[str, float]) -> str:
    """AP of small, medium and large objects."""
    sizes = ("small", "medium", "large")
    values = [metrics[f"AP_{size}"] for size in sizes]
    return charts.bar_chart(
        sizes,
        [max(0.0, value) for value in values],
        texts=["no objects" if value < 0 else number(value) for value in values],
        title="AP by size of the object",
        xlabel="area: under 32², to 96², over 96² pixels",
        ylabel="AP",
    )


def ap_by_crowding(ground_truth: GroundTruth, detections: Detections) -> str:
    """AP by objects per image, crowds not counted; empty without objects."""
    objects = Counter(row["image_id"] for row in ground_truth["annotations"] if not row["iscrowd"])
    aps: dict[str, float] = {}
    for low, high in _CROWDING:
        ids = [image_id for image_id, count in objects.items() if low <= count <= high]
        if ids:
            label = f"{low}+" if high == math.inf else f"{low}–{high}"
            part = evaluate_detections(ground_truth, detections, image_ids=ids)
            aps[f"{label}\n({len(ids)} img)"] = part.metrics["AP"]
    if not aps:
        return ""
    return charts.bar_chart(
        list(aps),
        [max(0.0, ap) for ap in aps.values()],
        texts=[number(ap) for ap in aps.values()],
        title="AP by number of objects in the image",
        xlabel="objects in the image",
        ylabel="AP",
    )


def calibration_chart(calibration: Calibration) -> str:
    """Share of right detections by score, with the diagonal; empty without detections."""
    filled = calibration.count > 0
    if not filled.any():
        return ""
    return charts.line_chart(
        [
            charts.Line("", (0, 1), (0, 1), color=charts.MUTED, dashed=True),
            charts.Line("", calibration.mean_score[filled], calibration.share_right[filled]),
        ],
        title="Share of right detections by score; the dashed line is perfect calibration",
        xlabel="score",
        ylabel="share that is right",
        xlim=(0, 1),
        ylim=(0, 1.02),
        markers=True,
    )


def error_chart(errors: Errors) -> str:
    """What each kind of error costs."""
    return charts.bar_chart(
        [kind if kind != "localisation" else "local." for kind in KINDS],
        [errors.costs[kind] for kind in KINDS],
        title="How much AP50 would rise if each kind of error is fixed",
        ylabel="AP50 lost",
        color=charts.COLORS[1],
    )


def confusion_section(confusion: Confusion, names: Mapping[int, str]) -> dict[str, Any]:
    """The most frequent confusions, and a matrix of the classes that have most mistakes.

    Each of `rows` is a label, the sum of the whole matrix' row, and the counts of the cells shown.
    """
    counts = confusion.counts
    mistakes = counts.sum(axis=1) + counts.sum(axis=0) - 2 * np.diag(counts)
    used = [k for k in range(len(confusion.category_ids)) if counts[k].any() or counts[:, k].any()]
    chosen = sorted(sorted(used, key=lambda k: -mistakes[k])[:_MATRIX_CLASSES])
    places = [*chosen, len(confusion.category_ids)]
    labels = [names[confusion.category_ids[k]].strip() for k in chosen]
    sums, cells = counts.sum(axis=1)[places], counts[np.ix_(places, places)]
    return {
        "columns": [*labels, "not found"],
        "rows": list(zip([*labels, "nothing there"], sums.tolist(), cells.tolist())),
        "left_out": len(used) - len(chosen),
        "threshold": confusion.threshold,
        "pairs": [
            (names[true].strip(), names[found].strip(), count)
            for true, found, count in confusion.largest(10)
        ],
    }
