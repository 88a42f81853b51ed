import functools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from pix2seq_model.decoding import generate as generate_module
from pix2seq_model.decoding.generate import generate, likeliest_category
from pix2seq_model.errors import ConfigError
from pix2seq_model.model_folder.folder import ModelInfo, load_model_folder, save_model_folder
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.tokens.vocabulary import (
    CLASS_SHIFT,
    DETECTION_PROMPT,
    NOISE_CLASS,
    PADDING,
    Vocabulary,
)
from tests.fixtures import reference
from tests.fixtures.tiny_model import CONFIG, VOCABULARY, network

OBJECTS = 6


@pytest.fixture(scope="module")
def model():
    return network(use_class_token=True, shared_embedding=False)


def images(count=3, seed=0):
    return np.random.default_rng(seed).random((count, *CONFIG.image_size, 3), np.float32)


def teacher_forced(model, pictures, tokens):
    prompt = np.full((len(tokens), 1), DETECTION_PROMPT)
    given = np.concatenate([prompt, tokens[:, :-1]], axis=1)
    return ops.convert_to_numpy(model({"image": pictures, "tokens": given}))


@pytest.mark.parametrize("how", [{"top_k": 1}, {"top_p": 0.9}])
def test_cached_decoding_sees_the_logits_of_teacher_forcing(model, how):
    found = generate(
        model, images(), max_objects=OBJECTS, keep_logits=True, stop_at_end=False, **how
    )
    expected = teacher_forced(model, images(), found["tokens"])
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5)


def test_greedy_tokens_are_the_likeliest(model):
    found = generate(
        model, images(), max_objects=OBJECTS, top_k=1, keep_logits=True, stop_at_end=False
    )
    np.testing.assert_array_equal(found["tokens"], found["logits"].argmax(-1))


def test_classes_and_scores_are_those_of_the_class_positions(model):
    found = generate(
        model, images(), max_objects=OBJECTS, top_p=0.9, keep_logits=True, stop_at_end=False
    )
    logits = found["logits"][:, 4::5].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    classes = probabilities[..., CLASS_SHIFT : VOCABULARY.coord_shift]
    np.testing.assert_array_equal(found["category_ids"], classes.argmax(-1))
    np.testing.assert_allclose(found["scores"], classes.max(-1), rtol=1e-4)


def test_objects_do_not_depend_on_the_rest_of_the_batch(model):
    how = {"max_objects": OBJECTS, "top_p": 0.9, "seed": 4}
    keys = np.array([5, 6, 7])
    together = generate(model, images(), image_keys=keys, **how)
    for index in range(3):
        one = slice(index, index + 1)
        alone = generate(model, images()[one], image_keys=keys[one], batch_size=3, **how)
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], together[name][index], rtol=1e-4)


def test_a_filled_up_batch_gives_the_same(model):
    how = {"max_objects": OBJECTS, "top_p": 0.9}
    plain = generate(model, images(2), **how)
    filled = generate(model, images(2), batch_size=3, **how)
    np.testing.assert_array_equal(plain["tokens"], filled["tokens"])
    assert filled["scores"].shape == (2, OBJECTS)


def test_sampling_is_seeded(model):
    same = np.repeat(images(1), 3, axis=0)

    def tokens(seed, keys=(1, 2, 1)):
        how = {"max_objects": OBJECTS, "top_p": 0.9, "seed": seed, "image_keys": keys}
        return generate(model, same, **how)["tokens"]

    np.testing.assert_array_equal(tokens(1), tokens(1))
    assert (tokens(1) != tokens(2)).any()
    np.testing.assert_array_equal(tokens(1)[0], tokens(1)[2])
    assert (tokens(1)[0] != tokens(1)[1]).any()


def test_a_sequence_is_over_at_its_end_token(model):
    free = generate(
        model, images(), max_objects=OBJECTS, top_k=1, keep_logits=True, stop_at_end=False
    )
    # With the end token just likely enough, sequences end at different places. Each other offset
    # would be compiled again.
    missing = free["logits"].max(axis=-1) - free["logits"][..., PADDING]
    found = generate_with(model, missing.min() + 0.01)
    ended = (found["tokens"] == PADDING).any(axis=1)
    assert ended.any()
    for index in np.flatnonzero(ended):
        tokens = found["tokens"][index]
        end = int((tokens == PADDING).argmax())
        np.testing.assert_array_equal(tokens[:end], free["tokens"][index, :end])
        assert (tokens[end:] == PADDING).all()
        # The object whose class position is the end still has its class; later ones have none.
        complete = end // 5 + (end % 5 == 4)
        assert (found["scores"][index, complete:] == 0).all()
        assert (found["category_ids"][index, complete:] == 0).all()
        assert (found["scores"][index, :complete] > 0).all()


def generate_with(model, offset):
    return generate(model, images(), max_objects=OBJECTS, top_k=1, end_token_offset=float(offset))


def test_a_very_likely_end_ends_at_once_and_an_unlikely_one_never(model):
    at_once = generate_with(model, 1e6)
    assert (at_once["tokens"] == PADDING).all()
    assert (at_once["scores"] == 0).all()
    assert (generate_with(model, -1e6)["tokens"] != PADDING).all()


@pytest.fixture(scope="module")
def noisy():
    """A network for which noise is the likeliest class of about half of the objects."""
    model = network(seed=3, num_decoder_layers=1, use_class_token=True)
    how = {"max_objects": OBJECTS, "top_k": 1, "stop_at_end": False, "keep_logits": True}
    logits_BNV = generate(model, images(), **how)["logits"][:, 4::5]
    categories = logits_BNV[..., CLASS_SHIFT : VOCABULARY.coord_shift].max(-1)
    bias = np.array(model.decoder.output_bias)
    bias[NOISE_CLASS] += np.median(categories - logits_BNV[..., NOISE_CLASS])
    model.decoder.output_bias.assign(bias)
    return model


@pytest.mark.parametrize("in_a_row", [1, 2])
def test_a_sequence_is_over_after_noise_in_a_row_and_the_same_up_to_there(noisy, in_a_row):
    how = {"max_objects": OBJECTS, "top_k": 1, "end_token_offset": -1e6}
    free = generate(noisy, images(), keep_logits=True, **how)
    logits_BNV = free["logits"][:, 4::5]
    best_BN = logits_BNV[..., CLASS_SHIFT : VOCABULARY.coord_shift].max(-1)
    is_noise_BN = logits_BNV[..., NOISE_CLASS] > best_BN
    assert is_noise_BN.any()
    assert not is_noise_BN.all()
    found = generate(noisy, images(), stop_after_noise=in_a_row, **how)
    for index, is_noise_N in enumerate(is_noise_BN):
        runs = [is_noise_N[max(0, n + 1 - in_a_row) : n + 1] for n in range(OBJECTS)]
        stops = [n for n, run in enumerate(runs) if len(run) == in_a_row and run.all()]
        kept = stops[0] + 1 if stops else OBJECTS
        for name, each in (("tokens", 5), ("category_ids", 1), ("scores", 1)):
            np.testing.assert_allclose(
                found[name][index, : kept * each], free[name][index, : kept * each], rtol=1e-5
            )
            assert (found[name][index, kept * each :] == 0).all()


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.large)])
def test_float16_storage_finds_the_same_up_to_its_rounding(model, count, monkeypatch):
    how = {"max_objects": 3, "top_k": 1, "stop_at_end": False, "keep_logits": True}
    pictures = images(count)
    half = generate(model, pictures, decoder_storage="float16", **how)
    # Given its own tokens, the network in float32 says the same within float16's rounding ...
    expected = teacher_forced(model, pictures, half["tokens"])
    atol = 4e-3 * np.abs(expected).max()
    np.testing.assert_allclose(half["logits"], expected, atol=atol)
    assert np.abs(half["logits"] - expected).max() > 1e-5  # ... which is there.
    # What an accelerator does, with the caches of all layers in one array.
    monkeypatch.setattr("pix2seq_model.decoding.generate.computes_on_processor", lambda: False)
    again = generate(model, pictures, decoder_storage="float16", stop_after_noise=9, **how)
    np.testing.assert_allclose(again["logits"], half["logits"], atol=atol / 4)
    stacked = generate(model, pictures, stop_after_noise=9, **how)
    expected = teacher_forced(model, pictures, stacked["tokens"])
    np.testing.assert_allclose(stacked["logits"], expected, atol=1e-5)


def test_float16_storage_is_refused_of_a_network_in_bfloat16():
    half = build_model(CONFIG, VOCABULARY, precision="bfloat16")
    with pytest.raises(ConfigError, match="decoder_storage=float16 is for networks in float32"):
        generate(half, images(), max_objects=1, decoder_storage="float16")


def test_decoding_follows_changed_weights(model):
    other = network(seed=8, num_decoder_layers=1)
    before = generate(other, images(), max_objects=2, top_k=1, stop_at_end=False)
    bias = np.zeros(VOCABULARY.vocab_size, np.float32)
    bias[77] = 1e4
    other.decoder.output_bias.assign(bias)
    after = generate(other, images(), max_objects=2, top_k=1, stop_at_end=False)
    assert (before["tokens"] != 77).any()
    assert (after["tokens"] == 77).all()


def test_bfloat16_decodes_from_the_same_weights(tmp_path, monkeypatch):
    # At its lowest level of optimization, which the tests compile with, XLA gets products of
    # bfloat16 wrong on a processor; at its default level it does not.
    uncompiled = functools.partial(tf.function, autograph=False)
    monkeypatch.setattr(generate_module, "compiled", lambda run, network: uncompiled(run))
    full = network(num_decoder_layers=1)
    info = ModelInfo(
        model=full.model_config,
        vocabulary=VOCABULARY,
        categories=(),
        max_objects=OBJECTS,
        source="test",
    )
    save_model_folder(tmp_path, full, info=info)
    half, _ = load_model_folder(tmp_path, precision="bfloat16")
    assert half.compute_dtype == "bfloat16"
    assert load_model_folder(tmp_path)[0].compute_dtype == "float32"
    settings = {"max_objects": OBJECTS, "top_k": 1, "stop_at_end": False, "keep_logits": True}
    found = [generate(model, images(), **settings) for model in (full, half)]
    first = [each["logits"][:, 0] for each in found]
    assert first[1].dtype == np.float32
    np.testing.assert_allclose(first[1], first[0], atol=0.1 * np.abs(first[0]).max())
    assert np.abs(first[1] - first[0]).max() > 1e-4
    assert np.isfinite(found[1]["scores"]).all()


def test_the_recorded_classes_and_scores():
    recorded = reference.arrays("evaluation/evaluation")
    vocabulary = Vocabulary(vocab_size=3000, num_bins=1000, coord_shift=1000)
    logits = recorded["class_logits"].reshape(-1, 3000)
    classes, scores = map(ops.convert_to_numpy, likeliest_category(logits, vocabulary))
    np.testing.assert_array_equal(classes, recorded["classes"].ravel())
    np.testing.assert_allclose(scores, recorded["scores"].ravel(), atol=1e-5)
