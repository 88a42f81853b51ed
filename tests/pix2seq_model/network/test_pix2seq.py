import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from pix2seq_model.network.config import ModelConfig
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures.tiny_model import CONFIG, VOCABULARY, network

PARAMETERS = {
    "resnet": 36_640_888,
    "resnetc": 84_728_184,
    "vit_b": 115_169_976,
    "vit_l": 341_161_912,
}
RESNET = {"backbone": "resnet", "resnet_width_multiplier": 0.125, "image_size": (64, 96)}


def inputs(model, batch_size=2, length=10, seed=0):
    random = np.random.default_rng(seed)
    images = random.random((batch_size, *model.model_config.image_size, 3), np.float32)
    tokens = random.integers(0, model.vocabulary.vocab_size, (batch_size, length))
    return {"image": images, "tokens": tokens}


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def perturbed(model, seed=1):
    """Every weight moved a little, so that no part of the network is switched off."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(numpy(weight) + 0.1 * np.abs(random.normal(size=weight.shape)))
    return model


@pytest.mark.parametrize("name", ["resnet", "resnetc", "vit_b"])
def test_published_sizes_have_their_published_number_of_parameters(name):
    # An image of any size: the position encoding has none.
    config = ModelConfig.published(name, image_size=(64, 64))
    assert build_model(config, Vocabulary()).count_params() == PARAMETERS[name]


@pytest.mark.parametrize("bridge", ["mlp", "linear_p", "linear"])
@pytest.mark.parametrize("backbone", [{}, RESNET], ids=["vit", "resnet"])
def test_logits_are_causal(bridge, backbone):
    model = perturbed(network(bridge=bridge, **backbone))
    first = inputs(model)
    second = {**first, "tokens": np.copy(first["tokens"])}
    second["tokens"][:, 6:] = 1
    a, b = numpy(model(first)), numpy(model(second))
    np.testing.assert_allclose(a[:, :6], b[:, :6], atol=1e-5)
    assert np.abs(a[:, 6:] - b[:, 6:]).max() > 1e-3


def test_the_image_reaches_every_logit():
    model = perturbed(network())
    first, second = inputs(model), inputs(model)
    second["image"] = first["image"][::-1]
    assert (np.abs(numpy(model(first)) - numpy(model(second))).max(axis=-1) > 1e-6).all()


def test_a_batch_is_its_images_one_by_one():
    model = perturbed(network(**RESNET))
    batch = inputs(model)
    whole = numpy(model(batch))
    for index in range(2):
        single = {name: value[index : index + 1] for name, value in batch.items()}
        np.testing.assert_allclose(numpy(model(single))[0], whole[index], atol=2e-5)


def test_the_class_token_comes_first():
    model = network(use_class_token=True, image_size=(32, 64))
    assert tuple(model.encode(inputs(model)["image"]).shape)[1] == 9


def test_widths_need_not_divide_into_heads():
    model = network(dim_encoder=26, num_heads_encoder=4, dim_decoder=18, num_heads_decoder=4)
    assert np.isfinite(numpy(model(inputs(model)))).all()


def test_embeddings_and_bias_as_configured():
    plain = network()
    apart = network(shared_embedding=False, output_bias=False)
    vocab_size, dim = VOCABULARY.vocab_size, CONFIG.dim_decoder
    assert apart.count_params() == plain.count_params() + vocab_size * dim - vocab_size


def test_the_same_seed_gives_the_same_weights_and_the_same_dropping():
    models = [network(seed=seed, drop_units=0.5, drop_path=0.5) for seed in (5, 5, 6)]
    batch = inputs(models[0])
    weights = [np.concatenate([numpy(w).ravel() for w in m.weights]) for m in models]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 0
    dropped = [numpy(model(batch, training=True)) for model in models]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.abs(dropped[0] - numpy(models[0](batch))).max() > 1e-3


def test_nothing_is_dropped_outside_of_training():
    model = network(drop_units=0.5, drop_path=0.5, drop_attention=0.5)
    batch = inputs(model)
    np.testing.assert_array_equal(numpy(model(batch)), numpy(model(batch)))


def test_logits_stay_float32_in_mixed_precision():
    before = keras.config.dtype_policy()
    exact = network(seed=2)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = network(seed=2)
    finally:
        keras.config.set_dtype_policy(before)
    logits = mixed(inputs(mixed))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert {keras.backend.standardize_dtype(w.dtype) for w in mixed.weights} == {"float32"}
    np.testing.assert_allclose(numpy(logits), numpy(exact(inputs(exact))), atol=0.3)


def test_weights_survive_a_file(tmp_path):
    model = perturbed(network(**RESNET))
    model.save_weights(tmp_path / "model.weights.h5")
    other = network(seed=9, **RESNET)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(numpy(model(inputs(model))), numpy(other(inputs(other))))


def test_weights_serve_any_image_size():
    small, large = network(), network(seed=1, image_size=(64, 64))
    large.set_weights(small.get_weights())
    assert dataclasses.replace(large.model_config, image_size=(32, 48)) == small.model_config
    assert np.isfinite(numpy(large(inputs(large)))).all()


def test_a_users_keras_json_changes_nothing():
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("float16")
    try:
        model = network()
        assert (keras.config.image_data_format(), keras.config.floatx()) == (
            *("channels_last", "float32"),
        )
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.compute_dtype == "float32"
