"""Charts of the evaluation report by what is in them."""

import re

import numpy as np

from pix2seq_model.metrics.score_thresholds import ThresholdCurve
from pix2seq_model.reports import charts
from pix2seq_model.reports import evaluation_sections as sections


def _axis(svg):
    """The numbers next to a chart."""
    return [float(text.replace("−", "-")) for text in re.findall(r">([−\d.]+)</text>", svg)]


def test_ap_and_validation_loss_are_drawn_where_they_were_measured():
    rows = [
        {"step": 10, "loss": 3.0},
        {"step": 20, "loss": 2.0, "AP": 0.1, "validation_loss": 2.5},
        {"step": 30, "loss": 1.5, "AP": 0.3, "validation_loss": 2.7},
    ]
    curves = sections.quality_curves({"finetune": rows, "pretrain": rows[:1]})
    assert [(title, note) for title, note, _ in curves] == [
        ("Fine-tuning: AP", "best 0.300 at step 30"),
        ("Fine-tuning: validation loss", "best 2.500 at step 20"),
    ]
    assert "training loss" in curves[1][2]


def test_an_ap_that_could_not_be_measured_is_not_drawn():
    assert sections.quality_curves({"finetune": [{"step": 1, "AP": -1.0}]}) == []


def test_axes_begin_at_0_where_all_is_0():
    rows = [{"step": step, "AP": 0.0} for step in (1, 2, 3)]
    ((_, _, svg),) = sections.quality_curves({"finetune": rows})
    assert min(_axis(svg)) == 0
    bars = charts.bar_chart(["a", "b"], [0.0, 0.0], title="nothing", texts=["", ""])
    assert min(_axis(bars)) == 0
    assert max(_axis(bars)) <= 0.1


def test_no_detections_have_no_curve():
    empty = ThresholdCurve(*(np.zeros(0) for _ in range(4)))
    assert sections.f1_chart(empty, 0.5) == ""
    some = ThresholdCurve(*(np.array([0.2, 0.6]) for _ in range(4)))
    assert "precision" in sections.f1_chart(some, 0.6)
