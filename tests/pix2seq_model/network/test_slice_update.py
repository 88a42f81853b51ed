"""Both ways of writing into an array write the same."""

import numpy as np
import pytest
from keras import ops

from pix2seq_model.network.slice_update import slice_update, without_xla


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("last", [False, True])
def test_both_ways_write_the_same(axis, last):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    values = -np.ones([1 if a == axis else n for a, n in enumerate(array.shape)], np.float32)
    position = array.shape[axis] - 1 if last else 0
    start = [0, 0, 0]
    start[axis] = ops.convert_to_tensor(position)
    expected = array.copy()
    np.moveaxis(expected, axis, 0)[position] = -1
    compiled = slice_update(ops.convert_to_tensor(array), start, values)
    with without_xla():
        plain = slice_update(ops.convert_to_tensor(array), start, values)
    np.testing.assert_array_equal(compiled, expected)
    np.testing.assert_array_equal(plain, expected)
