"""The costs of a step: what holds for any batch."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.training.step_costs import Size, StepCosts, upper_envelope
from tests.fixtures.step_costs import costs

SIZES = st.builds(Size, st.integers(0, 50).map(float), st.integers(0, 20).map(float))


@given(st.lists(SIZES, min_size=1, max_size=12), st.integers(0, 200))
def test_the_envelope_is_the_largest_at_any_batch(sizes, batch_size):
    envelope = upper_envelope(sizes)
    assert {*envelope} <= {*sizes}
    assert max(s.at(batch_size) for s in envelope) == max(s.at(batch_size) for s in sizes)


def test_the_envelope_holds_nothing_twice():
    low, middle, high = Size(10.0, 0.0), Size(4.0, 1.0), Size(0.0, 2.0)
    assert upper_envelope([high, middle, Size(9.0, 0.0), low, low]) == [low, high]


def test_the_peak_changes_with_the_batch():
    found = costs(each_gib=1.0, weights_gib=4.0)
    assert found.peak(1) == found.peaks[0]
    assert found.peak(8) == found.peaks[1]


def test_as_json_and_back():
    found = costs()
    assert StepCosts.from_json(json.loads(json.dumps(found.to_json()))) == found
