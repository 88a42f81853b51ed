"""The fingerprint is TensorFlow's, whatever the length."""

import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.onnx_runner.fingerprint import fingerprint64

# Each length has its own way up to 16, 32 and 64 bytes; beyond, the last block overlaps.
LENGTHS = (*range(1, 20), 31, 32, 33, 47, 63, 64, 65, 127, 128, 129, 191, 192, 193, 6000)


@pytest.mark.parametrize("length", LENGTHS)
def test_it_is_tensorflows(length):
    data = np.random.default_rng(length).integers(0, 256, (1, length), np.uint8)
    digest = tf.raw_ops.Fingerprint(data=data, method="farmhash64")
    assert fingerprint64(data.tobytes()) == tf.bitcast(digest, tf.int64)[0].numpy()
