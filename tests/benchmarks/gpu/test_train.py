"""When two precisions agree, on made-up APs; training itself is in test_gpu.py."""

import pytest

from benchmarks.gpu.train import summary


def rows(bfloat16, float32):
    given = {"mixed_bfloat16": bfloat16, "float32": float32}
    return [{"precision": name, "ap": ap} for name, aps in given.items() for ap in aps]


@pytest.mark.parametrize(
    ("bfloat16", "float32", "agree"),
    [
        ([0.50, 0.56], [0.52, 0.58], True),
        ([0.50, 0.51], [0.53, 0.55], False),
        ([0.40, 0.60], [0.53, 0.54], False),  # Wide by itself.
        ([0.50], [0.50], None),  # One seed says nothing of a spread.
        ([0.50, None], [0.50, 0.52], None),
    ],
)
def test_means_agree_within_the_range_of_the_seeds(bfloat16, float32, agree):
    assert summary(rows(bfloat16, float32))["agree"] is agree


def test_difference_and_spread():
    found = summary(rows([0.50, 0.51], [0.53, 0.55]))
    assert found["difference"] == pytest.approx(0.035)
    assert found["spread"] == pytest.approx(0.02)  # Of float32 alone.
    assert found["float32"]["mean"] == pytest.approx(0.54)
