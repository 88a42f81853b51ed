"""The words of the summary."""

import io

import pytest
from rich.console import Console

from pipelines.local.summary import duration, print_summary

SUMMARY = {
    "name": "demo",
    "pipeline_root": "/runs",
    "seconds": 75.0,
    "stages": [
        {"node": "Finetune", "title": "Fine-tune", "seconds": 70.2, "cached": False},
        {"node": "ModelPusher", "title": "Push", "seconds": 0.1, "cached": True},
    ],
    "data": {
        "finetune": {
            "report": "/runs/FinetuneDataReport/report/3/data_report.html",
            "splits": {
                "train": {
                    "images": 1200,
                    "objects": 9000,
                    "counts": {
                        "images": {"dropped": {"image_missing": 3}, "changed": {}},
                        "annotations": {"dropped": {}, "changed": {"box_clipped": 4000}},
                    },
                }
            },
        }
    },
    "evaluation": {
        "split": "val",
        "metrics": {
            **dict.fromkeys(("AP", "AP50", "AP75", "AP_small", "AP_medium"), 0.4321),
            "AP_large": -1.0,
            **dict.fromkeys(("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"), 0.5),
        },
    },
    "blessing": {"blessed": False, "reasons": ["AP 0.4321 is below the least value 0.5000"]},
    "push": {"pushed": False},
    "model": "/runs/Finetune/model/5",
    "report": "/runs/report.html",
    "tensorboard": ["/runs/Finetune/model_run/5"],
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.12, "0.1 s"),
        (12.4, "12 s"),
        (75, "1 min 15 s"),
        (4000, "1 h 06 min"),
        (59.7, "1 min 00 s"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def printed(summary, width=100):
    file = io.StringIO()
    print_summary(summary, Console(file=file, width=width))
    return " ".join(file.getvalue().split())


def test_everything_a_user_asks_for():
    text = printed(SUMMARY)
    for words in (
        "Fine-tune 1 min 10 s",
        "Push 0.1 s from the cache",
        "Total, start included 1 min 15 s",
        "finetune train 1,200 9,000 image_missing 3, box_clipped 4,000",
        "0.432 0.432 0.432 0.432 0.432 -",
        "Blessed NO: AP 0.4321 is below the least value 0.5000",
        "Pushed no, since it is not blessed",
        "Model /runs/Finetune/model/5",
        "Report /runs/report.html",
        "Data report /runs/FinetuneDataReport/report/3/data_report.html",
        "tensorboard --logdir=/runs",
    ):
        assert words in text


def test_a_model_that_was_there_already():
    push = {"pushed": True, "path": "/runs/serving_model/2026", "already_there": True}
    text = printed({**SUMMARY, "push": push})
    assert "Pushed /runs/serving_model/2026 (the same model was there already)" in text


def test_only_the_conversion():
    kept = {name: SUMMARY[name] for name in ("name", "pipeline_root", "seconds", "stages", "data")}
    text = printed(kept)
    assert "image_missing 3" in text
    assert "Blessed" not in text
