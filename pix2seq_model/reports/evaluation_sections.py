"""What each section of the evaluation report says; `evaluation_report` puts them on a page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pix2seq_model.data.manifest import DatasetInfo
from pix2seq_model.metrics.analysis import (
    KINDS,
    MEANINGS,
    Calibration,
    Confusion,
    Errors,
    OperatingPoint,
)
from pix2seq_model.metrics.coco_metrics import IOU_THRESHOLDS, RECALL_THRESHOLDS, CocoResult, number
from pix2seq_model.reports import charts

_STAGE_NAMES = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}
_MAX_POINTS = 400  # of a loss curve: finer than a screen shows
_PR_IOUS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
_MATRIX_CLASSES = 20  # a larger matrix cannot be read


def loss_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, str]]:
    """A chart for each stage: `title`, `note`, `svg`. Stages without rows are left out."""
    curves = []
    for index, (stage, rows) in enumerate(histories.items()):
        rows = [row for row in rows if "loss" in row]
        if not rows:
            continue
        steps = np.array([row["step"] for row in rows], float)
        losses = np.array([row["loss"] for row in rows], float)
        name = _STAGE_NAMES.get(stage, stage)
        curves.append(
            {
                "title": name,
                "note": f"loss {losses[0]:.3f} at step {int(steps[0]):,}, "
                f"{losses[-1]:.3f} at step {int(steps[-1]):,}",
                "svg": charts.line_chart(
                    [charts.Line("", *_thinned(steps, losses), color=charts.COLORS[index % 8])],
                    title=f"{name}: training loss by step",
                    x_label="step",
                    y_label="training loss",
                ),
            }
        )
    return curves


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
        x_label="recall",
        y_label="precision",
        x_range=(0, 1),
        y_range=(0, 1.02),
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
        x_label="area: under 32², to 96², over 96² pixels",
        y_label="AP",
    )


def ap_by_crowding(groups: Sequence[tuple[str, int, float]]) -> str:
    """AP by objects per image, from (label, number of images, AP)."""
    return charts.bar_chart(
        [f"{label}\n({images} img)" for label, images, _ in groups],
        [max(0.0, ap) for _, _, ap in groups],
        texts=[number(ap) for _, _, ap in groups],
        title="AP by number of objects in the image",
        x_label="objects in the image",
        y_label="AP",
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
        x_label="score",
        y_label="share that is right",
        x_range=(0, 1),
        y_range=(0, 1.02),
        markers=True,
    )


def error_section(errors: Errors) -> dict[str, Any]:
    """Chart and rows of the error analysis."""
    return {
        "svg": charts.bar_chart(
            [kind if kind != "localisation" else "local." for kind in KINDS],
            [errors.costs[kind] for kind in KINDS],
            texts=[f"{errors.costs[kind]:.3f}" for kind in KINDS],
            title="How much AP50 would rise if each kind of error is fixed",
            y_label="AP50 lost",
            color=charts.COLORS[1],
        ),
        "rows": [
            {
                "kind": kind,
                "meaning": MEANINGS[kind],
                "count": errors.counts[kind],
                "cost": errors.costs[kind],
            }
            for kind in KINDS
        ],
        "false_positive_cost": errors.false_positive_cost,
        "false_negative_cost": errors.false_negative_cost,
    }


def confusion_section(confusion: Confusion, names: Mapping[int, str]) -> dict[str, Any]:
    """The most frequent confusions, and a matrix of the classes that have most mistakes.

    Matrix cells hold `count` and `share`, the count over the row's sum.
    """
    counts = confusion.counts
    mistakes = counts.sum(axis=1) + counts.sum(axis=0) - 2 * np.diag(counts)
    used = [k for k in range(len(confusion.category_ids)) if counts[k].any() or counts[:, k].any()]
    chosen = sorted(sorted(used, key=lambda k: -mistakes[k])[:_MATRIX_CLASSES])
    places = [*chosen, len(confusion.category_ids)]
    labels = [names[confusion.category_ids[k]].strip() for k in chosen]
    rows = []
    for label, place in zip([*labels, "nothing there"], places):
        total = max(1, int(counts[place].sum()))
        rows.append(
            {
                "label": label,
                "cells": [
                    {
                        "count": int(counts[place, k]),
                        "share": counts[place, k] / total,
                        "right": k == place,
                    }
                    for k in places
                ],
            }
        )
    return {
        "columns": [*labels, "not found"],
        "rows": rows,
        "left_out": len(used) - len(chosen),
        "threshold": confusion.threshold,
        "pairs": [
            {"truth": names[true].strip(), "detected": names[found].strip(), "count": count}
            for true, found, count in confusion.largest(10)
        ],
    }


def operating_text(point: OperatingPoint) -> str:
    """One sentence for people about the best threshold."""
    if not point.num_true:
        return "No detection found an object, so no score threshold is better than another."
    return (
        f"At a score of {point.threshold:.2f} or more, {point.precision:.0%} of the detections are "
        f"right and {point.recall:.0%} of the objects are found (F1 {point.f1:.2f}, IoU 0.5): "
        f"{point.num_true:,} right, {point.num_false:,} wrong, {point.num_missed:,} missed."
    )


def data_section(info: DatasetInfo) -> list[dict[str, Any]]:
    """For each split its counts, and what was set aside or fixed by which rule."""
    splits = []
    for name, split in sorted(info.splits.items()):
        rules = [
            {"what": what, "done": done, "rule": rule.replace("_", " "), "count": count}
            for what in ("images", "annotations")
            for done in ("dropped", "changed")
            for rule, count in sorted(split.counts.get(what, {}).get(done, {}).items())
            if count
        ]
        splits.append(
            {
                "name": name,
                "num_examples": split.num_examples,
                "num_objects": split.num_objects,
                "num_shards": len(split.shards),
                "size": _bytes(split.num_bytes),
                "rules": rules,
            }
        )
    return splits


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most _MAX_POINTS points, each the mean of its neighbours."""
    if len(x) <= _MAX_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _MAX_POINTS)
    return np.array([x[part].mean() for part in parts]), np.array(
        [y[part].mean() for part in parts]
    )


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    power = min(4, int(math.log10(count)) // 3)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
