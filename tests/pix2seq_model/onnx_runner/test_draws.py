"""The random numbers are those of `decoding.sampling`, to the bit."""

import numpy as np
import pytest

from pix2seq_model.decoding import sampling
from pix2seq_model.onnx_runner.draws import draw_uniform


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_they_are_tensorflows(seed):
    keys_B = np.array([0, 5, -3, 2**62 + 7, -(2**63)])
    expected = sampling.draw_uniform(seed, keys_B, 23).numpy()
    drawn = draw_uniform(seed, keys_B, 23)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn, expected)


def test_no_image_draws_nothing():
    assert draw_uniform(0, np.empty(0, np.int64), 10).shape == (0, 10)
