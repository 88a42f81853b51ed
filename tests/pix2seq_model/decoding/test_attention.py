import numpy as np
import pytest
from keras import ops

from pix2seq_model.decoding.attention import (
    cross_attention_maps,
    likeliest_categories,
    raw_cross_attention,
)
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, DETECTION_PROMPT
from tests.fixtures.tiny_config import VOCABULARY
from tests.fixtures.tiny_model import CONFIG, network

IMAGES = np.random.default_rng(0).random((3, *CONFIG.image_size, 3), np.float32)
TOKENS = np.random.default_rng(1).integers(1, VOCABULARY.vocab_size, (3, 10))


@pytest.fixture(scope="module")
def model():
    return network(use_class_token=True, shared_embedding=False)


def test_attention_maps_sum_to_one(model):
    raw = raw_cross_attention(model, IMAGES, TOKENS)
    assert raw.shape == (3, 2, 2, 10, 1 + 2 * 3)
    np.testing.assert_allclose(raw.sum(-1), 1, rtol=1e-5)
    maps = cross_attention_maps(model, IMAGES, TOKENS)
    assert maps.shape == (3, 10, 2, 3)
    np.testing.assert_allclose(maps.reshape(3, 10, 6), raw.mean(axis=(1, 2))[..., 1:], rtol=1e-5)


def test_the_weights_are_those_that_the_network_attends_with(model):
    attention = model.decoder.layers[0].cross_attention
    x_BLD = np.random.default_rng(2).normal(size=(3, 5, CONFIG.dim_decoder)).astype(np.float32)
    encoded = model.encode(IMAGES)
    weights_BHLM = ops.convert_to_numpy(attention.cross_attention_weights(x_BLD, encoded))
    _, values_RMK = attention.cross_kv_cache(encoded)
    values_BHMK = ops.convert_to_numpy(values_RMK).reshape(3, 2, *values_RMK.shape[1:])
    attended = np.einsum("bhlm,bhmk->blhk", weights_BHLM, values_BHMK)
    expected = attention.output_projection(attended.reshape(3, 5, -1))
    np.testing.assert_allclose(
        ops.convert_to_numpy(attention(x_BLD, encoded)),
        ops.convert_to_numpy(expected),
        atol=1e-5,
    )
    assert np.ptp(weights_BHLM, axis=-1).max() > 0.01  # equal weights would prove nothing


def test_reading_the_attention_leaves_the_logits_as_they_are(model):
    encoded = model.encode(IMAGES)
    logits = ops.convert_to_numpy(model.decode(TOKENS, encoded))
    x = model.decoder._embed(TOKENS, model.decoder.position_embedding[:10])
    for layer in model.decoder.layers:
        x, _ = layer.call_with_attention(x, encoded)
    seen = model.decoder._logits(x, ops.transpose(model.decoder.output_embedding))
    np.testing.assert_allclose(ops.convert_to_numpy(seen), logits, atol=1e-5)


def test_the_likeliest_categories_are_those_of_the_last_step(model):
    categories, scores = likeliest_categories(model, IMAGES, TOKENS)
    given = np.concatenate([np.full((3, 1), DETECTION_PROMPT), TOKENS[:, :-1]], axis=1)
    logits = ops.convert_to_numpy(model({"image": IMAGES, "tokens": given}))[:, -1]
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    classes = probabilities[:, CLASS_SHIFT : VOCABULARY.coord_shift]
    np.testing.assert_array_equal(categories, classes.argmax(-1))
    np.testing.assert_allclose(scores, classes.max(-1), rtol=1e-4)


def test_a_network_in_bfloat16_is_read_too():
    bfloat16 = build_model(CONFIG, VOCABULARY, precision="bfloat16")
    maps = cross_attention_maps(bfloat16, IMAGES, TOKENS)
    assert maps.dtype == np.float32
    assert maps.sum(axis=(2, 3)) == pytest.approx(np.ones(TOKENS.shape), abs=2e-2)
    categories, scores = likeliest_categories(bfloat16, IMAGES, TOKENS)
    assert (categories < VOCABULARY.coord_shift).all()
    assert ((scores > 0) & (scores < 1)).all()
