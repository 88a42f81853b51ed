"""Thresholds and the sentences that explain a decision."""

import pytest

from components.blessing import decide

NOTHING_BEFORE = {"max_regression": {"AP": 0.0}, "blessed_metrics": None}


@pytest.mark.parametrize(
    ("value", "blessed"), [(0.40, True), (0.3999, False), (float("nan"), False), (-1.0, False)]
)
def test_least_value(value, blessed):
    decision = decide({"AP": value}, min_metrics={"AP": 0.4}, **NOTHING_BEFORE)
    assert decision.blessed is blessed


def test_every_metric_must_reach_its_least_value():
    decision = decide(
        {"AP": 0.5, "AR100": 0.2}, min_metrics={"AP": 0.4, "AR100": 0.3}, **NOTHING_BEFORE
    )
    assert not decision.blessed
    assert decision.reasons == ("AR100 0.2000 is below the least value 0.3000",)


def test_metric_that_was_never_measured_is_no_zero():
    decision = decide({"AP": 0.5}, min_metrics={"AP_small": 0.0}, **NOTHING_BEFORE)
    assert decision.reasons == (
        "AP_small cannot be measured on this data, and at least 0.0000 is asked",
    )


@pytest.mark.parametrize(
    ("value", "fall", "blessed"),
    [(0.50, 0.0, True), (0.49, 0.0, False), (0.49, 0.02, True), (0.47, 0.02, False)],
)
def test_not_worse_than_the_blessed_model(value, fall, blessed):
    decision = decide(
        {"AP": value},
        min_metrics={},
        max_regression={"AP": fall},
        blessed_metrics={"AP": 0.50},
    )
    assert decision.blessed is blessed


def test_regression_is_checked_on_any_metric():
    decision = decide(
        {"AP": 0.6, "AP_small": 0.1},
        min_metrics={},
        max_regression={"AP": 0.0, "AP_small": 0.0},
        blessed_metrics={"AP": 0.5, "AP_small": 0.2},
    )
    assert decision.reasons == (
        "AP_small 0.1000 is more than 0.0000 below 0.2000 of the blessed model",
    )


def test_a_metric_the_blessed_model_lacks_is_not_compared():
    decision = decide(
        {"AP_small": 0.1},
        min_metrics={},
        max_regression={"AP_small": 0.0},
        blessed_metrics={"AP_small": -1.0},
    )
    assert decision.blessed


def test_a_blessing_says_why_too():
    decision = decide({"AP": 0.5}, min_metrics={"AP": 0.4}, **NOTHING_BEFORE)
    assert decision.to_json() == {
        "blessed": True,
        "reasons": [
            "AP 0.5000 reaches the least value 0.4000",
            "no model was blessed before: there is nothing to compare with",
        ],
    }
