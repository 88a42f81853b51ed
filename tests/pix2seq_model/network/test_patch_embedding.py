import random

import numpy as np
from keras import ops

from pix2seq_model.network.patch_embedding import PatchEmbedding


def test_what_fills_no_patch_is_left_out():
    stem = PatchEmbedding(8, 16, seeds=random.Random(0))
    stem.build((None, 50, 47, 3))
    assert stem.map_size((50, 47)) == (3, 2)
    images = np.random.default_rng(0).random((2, 50, 47, 3), np.float32)
    found = ops.convert_to_numpy(stem(images))
    assert found.shape == (2, 3 * 2, 8)
    images[:, 48:], images[:, :, 32:] = 0, 0
    np.testing.assert_array_equal(ops.convert_to_numpy(stem(images)), found)
