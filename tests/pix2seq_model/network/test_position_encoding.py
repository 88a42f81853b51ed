import numpy as np
import pytest

from pix2seq_model.network.position_encoding import (
    image_position_encoding,
    sequence_position_encoding,
)


def test_first_position_is_sine_zero_and_cosine_one():
    codes = sequence_position_encoding(3, dim=4)
    np.testing.assert_allclose(codes[0], [0, 0, 1, 1])


def test_positions_are_stretched_to_two_pi():
    codes = sequence_position_encoding(5, dim=2)
    np.testing.assert_allclose(codes[:, 0], [0, 1, 0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(codes[:, 1], [1, 0, -1, 0, 1], atol=1e-6)


def test_half_of_the_channels_code_the_row_and_half_the_column():
    codes = image_position_encoding(2, 3, dim=8).reshape(2, 3, 8)
    np.testing.assert_array_equal(codes[:, 0, :4], codes[:, 2, :4])
    np.testing.assert_array_equal(codes[0, :, 4:], codes[1, :, 4:])
    np.testing.assert_array_equal(codes[:, 0, :4], sequence_position_encoding(2, dim=4))
    np.testing.assert_array_equal(codes[0, :, 4:], sequence_position_encoding(3, dim=4))


@pytest.mark.parametrize("size", [(1, 6), (6, 1)])
def test_a_single_row_or_column_is_a_sequence(size):
    np.testing.assert_array_equal(
        image_position_encoding(*size, dim=8), sequence_position_encoding(6, dim=8)
    )


def test_a_single_position_is_finite():
    assert np.isfinite(image_position_encoding(1, 1, dim=8)).all()


def test_odd_half_widths_have_one_sine_more():
    assert image_position_encoding(2, 2, dim=10).shape == (4, 10)
