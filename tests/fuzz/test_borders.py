"""Two hundred damaged inputs at each border; `make fuzz` tries as many as its time allows."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.borders import BORDERS
from tests.fuzz.damage import damaged

EXAMPLES = 200


@pytest.mark.parametrize("name", BORDERS)
def test_whole_inputs_are_taken(name, tmp_path):
    """Or the others would show nothing."""
    for number, whole in enumerate(BORDERS[name].wholes()):
        (tmp_path / str(number)).mkdir()
        # The manifest's shard is not there, which is found when all else is right.
        problem = pytest.raises(ValueError, match="is missing")
        with problem if name == "manifest" else contextlib.nullcontext():
            BORDERS[name].read(whole, tmp_path / str(number))


def test_hostile_inputs_are_taken_or_named(tmp_path):
    hostile = [(border, data) for border in BORDERS.values() for data in border.hostile]
    assert hostile
    for number, (border, data) in enumerate(hostile):
        (tmp_path / str(number)).mkdir()
        with contextlib.suppress(*border.accepted):
            border.read(data, tmp_path / str(number))


@pytest.mark.parametrize("name", BORDERS)
def test_damaged_inputs_are_taken_or_named(name):
    border = BORDERS[name]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(border.seeds(), border.words))
    def try_one(data):
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(*border.accepted):
            border.read(data, Path(folder))

    try_one()
