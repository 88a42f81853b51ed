import os
import re
import subprocess
import sys

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from pix2seq_model.decoding.sampling import draw_uniform, keep_top, sample
from tests.fixtures import reference


def kept(logits, **how):
    return ops.convert_to_numpy(keep_top(np.asarray(logits, np.float32), **how)) > -1e9


def test_nucleus_stops_before_the_token_that_crosses():
    logits = np.log([[0.3, 0.2, 0.4, 0.1]])
    np.testing.assert_array_equal(kept(logits, top_p=0.75), [[True, False, True, False]])


def test_nucleus_keeps_the_first_token_in_any_case():
    logits = np.log([[0.3, 0.2, 0.4, 0.1]])
    np.testing.assert_array_equal(kept(logits, top_p=0.1), [[False, False, True, False]])


def test_top_k_keeps_ties_and_comes_before_the_nucleus():
    logits = [[1.0, 3.0, 2.0, 2.0]]
    np.testing.assert_array_equal(kept(logits, top_k=2), [[False, True, True, True]])
    np.testing.assert_array_equal(kept(logits, top_k=2, top_p=0.6), [[False, True, False, False]])


def test_published_choices():
    recorded = reference.arrays("ops/sampling")
    names = [name for name in recorded if name != "logits"]
    assert names
    for name in names:
        top_k, top_p = re.fullmatch(r"kept_k(\d+)_p([\d.]+)", name).groups()
        ours = kept(recorded["logits"], top_k=int(top_k), top_p=float(top_p))
        np.testing.assert_array_equal(ours, recorded[name], err_msg=name)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    top_k=st.sampled_from([0, 1, 3]),
    top_p=st.sampled_from([0.2, 0.9, 1.0]),
    uniform=st.floats(0, 1, exclude_max=True, width=32),
)
def test_only_kept_tokens_are_sampled(seed, top_k, top_p, uniform):
    logits = np.random.default_rng(seed).normal(0, 3, (1, 20)).astype(np.float32)
    token = int(sample(logits, np.float32([uniform]), top_k=top_k, top_p=top_p)[0])
    assert kept(logits, top_k=top_k, top_p=top_p)[0, token]


def test_tokens_come_with_their_probabilities():
    logits = np.repeat(np.log([[0.5, 0.2, 0.3]]), 1000, axis=0).astype(np.float32)
    uniform = (np.arange(1000, dtype=np.float32) + 0.5) / 1000
    tokens = ops.convert_to_numpy(sample(logits, uniform))
    np.testing.assert_allclose(np.bincount(tokens) / 1000, [0.5, 0.2, 0.3], atol=2e-3)


def test_low_temperature_is_greedy():
    logits = np.float32([[1.0, 1.5, 0.5]])
    assert int(sample(logits, np.float32([0.99]), temperature=1e-3)[0]) == 1
    assert int(sample(logits, np.float32([0.99]), temperature=1.0)[0]) == 2


def test_an_images_numbers_follow_from_the_seed_and_its_key_alone():
    keys = [7, -3, 2**62, 7]
    many = draw_uniform(3, keys, 10).numpy()
    np.testing.assert_array_equal(many, tf.function(draw_uniform)(3, tf.constant(keys), 10))
    for place, key in enumerate(keys):
        np.testing.assert_array_equal(draw_uniform(3, [key], 10)[0], many[place])
    assert len(np.unique(many[:3])) == 30
    assert not np.isin(draw_uniform(4, keys, 10), many).any()


_ON_JAX = """
import sys, keras, numpy as np
from pix2seq_model.decoding.generate import generate
from pix2seq_model.decoding.sampling import draw_uniform
from tests.fixtures import tiny_model
network = tiny_model.network(num_encoder_layers=1, num_decoder_layers=1)
images = np.zeros((1, *network.model_config.image_size, 3), np.float32)
assert generate(network, images, max_objects=1, top_k=1)["tokens"].shape == (1, 5)
print(keras.backend.backend(), "tensorflow" in sys.modules)
print(draw_uniform(3, [7, -3], 4).numpy().tolist())
"""


def test_on_jax_the_numbers_are_the_same_and_greedy_decoding_imports_no_tensorflow():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", _ON_JAX], env=environment, capture_output=True, text=True
    )
    numbers = draw_uniform(3, [7, -3], 4).numpy().tolist()
    assert done.stdout.splitlines() == ["jax False", str(numbers)], done.stderr
