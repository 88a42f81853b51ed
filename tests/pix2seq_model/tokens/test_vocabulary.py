"""Token ids, quantisation against the recorded numbers, and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2seq_model.errors import ConfigError
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures import reference


def test_coordinates_round_half_to_even_and_clip():
    vocabulary = Vocabulary(vocab_size=111, num_bins=5, coord_shift=102)
    # x * 4 = 0.5, 1.5 and 2.5 go to the even neighbours 0, 2 and 2.
    tokens = vocabulary.quantize(np.array([-1, 0, 0.125, 0.375, 0.625, 1, 7]))
    np.testing.assert_array_equal(tokens - 102, [0, 0, 0, 2, 2, 4, 4])
    np.testing.assert_array_equal(
        vocabulary.dequantize(np.array([102, 103, 106, 0, 110])),
        np.float32([0, 0.25, 1, 0, 1]),
    )


@given(st.integers(2, 2000), st.floats(0, 1))
def test_a_coordinate_comes_back_within_half_a_bin(num_bins, x):
    vocabulary = Vocabulary(vocab_size=3000, num_bins=num_bins, coord_shift=1000)
    assert abs(vocabulary.dequantize(vocabulary.quantize(x)) - x) <= 0.5 / (num_bins - 1) + 1e-6


@pytest.mark.parametrize("xp", ["keras", "tensorflow"])
def test_every_array_module_gives_the_same_tokens(xp):
    vocabulary = Vocabulary()
    x = np.random.default_rng(0).uniform(size=1000).astype("float32")
    if xp == "keras":
        import keras.ops as module
    else:
        import tensorflow as module
    tokens = vocabulary.quantize(x, xp=module)
    np.testing.assert_array_equal(np.asarray(tokens), vocabulary.quantize(x))
    back = vocabulary.dequantize(tokens, xp=module)
    np.testing.assert_allclose(np.asarray(back), vocabulary.dequantize(vocabulary.quantize(x)))


def test_classes():
    vocabulary = Vocabulary()
    assert vocabulary.class_token(90) == 190
    assert vocabulary.category_id(190) == 90
    assert vocabulary.max_category_id == 899
    vocabulary.check_categories([1, 899], source="here")
    with pytest.raises(ConfigError, match=r"labels.json: category ids \[0, 900\] have no token"):
        vocabulary.check_categories([0, 5, 900], source="labels.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_bins": 1}, "num_bins=1 must be at least 2"),
        ({"num_bins": 2001}, "set vocab_size to at least 3001"),
        ({"coord_shift": 101}, "no room for classes"),
        ({"vocab_size": 3000.0}, "must be a whole number"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Vocabulary(**fields)


@pytest.mark.parametrize("num_bins", [100, 500, 1000, 2000])
def test_recorded_quantisation(num_bins):
    recorded = reference.arrays("ops/quantize")
    vocabulary = Vocabulary(vocab_size=3000, num_bins=num_bins, coord_shift=1000)
    tokens = vocabulary.quantize(recorded["coords"])
    np.testing.assert_array_equal(tokens - 1000, recorded[f"bins{num_bins}"])
    np.testing.assert_array_equal(vocabulary.dequantize(tokens), recorded[f"dequant{num_bins}"])
