import math

import pytest

from pix2seq_model.data.formats.labelled_image import bounds, number, pixels


def test_bounds():
    assert bounds([(3, 9), (1, 2), (2, 10)]) == (1, 2, 3, 10)


@pytest.mark.parametrize("value", [None, True, "", "x", "nan", math.inf, "1e999", [1]])
def test_no_numbers(value):
    with pytest.raises(ValueError, match="is not a number"):
        number(value)


@pytest.mark.parametrize(
    ("value", "side"), [("640", 640), (640.0, 640), ("0", 0), ("12.5", 0), (-3, 0), (None, 0)]
)
def test_sides(value, side):
    assert pixels(value) == side
