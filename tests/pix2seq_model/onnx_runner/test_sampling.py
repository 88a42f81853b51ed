"""The same logits and numbers choose the same tokens as in `decoding.sampling`."""

import numpy as np
import pytest
from keras import ops

from pix2seq_model.decoding import generate, sampling
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.onnx_runner.sampling import likeliest_category, sample
from pix2seq_model.tokens.vocabulary import Vocabulary

RNG = np.random.default_rng(0)
LOGITS_BV = RNG.normal(0, 3, (200, 40)).astype(np.float32)
UNIFORM_B = RNG.random(200, np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 1},
        {"top_p": 1.0},
        {"top_p": 0.0},
        {"top_p": 0.4},
        {"top_k": 3, "top_p": 1.0},
        {"top_k": 7, "top_p": 0.8, "temperature": 2.5},
    ],
)
def test_tokens_are_the_same(settings):
    expected = sampling.sample(
        ops.convert_to_tensor(LOGITS_BV), UNIFORM_B, **{"top_p": 0.4, **settings}
    )
    chosen = sample(LOGITS_BV, UNIFORM_B, DecodeSettings(**settings))
    assert len(set(chosen)) > 5
    np.testing.assert_array_equal(chosen, ops.convert_to_numpy(expected))


def test_equally_likely_tokens_are_kept_together():
    logits_BV = np.log(np.array([[0.4, 0.3, 0.3]] * 4, np.float32))
    uniform_B = np.array([0.1, 0.5, 0.75, 0.99], np.float32)
    chosen = sample(logits_BV, uniform_B, DecodeSettings(top_k=2, top_p=1.0))
    assert chosen.tolist() == [0, 1, 2, 2]


def test_the_likeliest_category_and_its_probability_are_the_same():
    vocabulary = Vocabulary(vocab_size=205, num_bins=100, coord_shift=105)
    logits_BV = np.random.default_rng(1).normal(0, 4, (50, 205)).astype(np.float32)
    expected_ids, expected_scores = generate.likeliest_category(
        ops.convert_to_tensor(logits_BV), vocabulary
    )
    category_ids_B, scores_B = likeliest_category(logits_BV, vocabulary)
    np.testing.assert_array_equal(category_ids_B, ops.convert_to_numpy(expected_ids))
    np.testing.assert_allclose(scores_B, ops.convert_to_numpy(expected_scores), rtol=1e-5)
