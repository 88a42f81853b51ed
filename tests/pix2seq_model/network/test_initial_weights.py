"""Freshly drawn weights are spread as those of the published code."""

import dataclasses
import json

import numpy as np
import pytest

from pix2seq_model.network.config import PUBLISHED_NAMES, ModelConfig
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.published.checkpoint import load_published_checkpoint
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures import reference
from tests.fixtures.published_layout import published_weights


def recorded(name):
    """Place to how its values are spread."""
    content = json.loads((reference.REFERENCE / f"initial_weights/{name}.json").read_text())
    return {variable["place"]: variable for variable in content["variables"].values()}


@pytest.fixture(scope="module", params=["vit", "resnet"])
def small(request):
    network = load_published_checkpoint(
        str(reference.model_folder(request.param) / "checkpoint_dir")
    ).network
    return request.param, network.model_config, network.vocabulary


def misfits(small, *, seeds=(0,), **changes):
    """Places of the weights that are spread otherwise, all seeds together."""
    name, config, vocabulary = small
    drawn = {}
    for seed in seeds:
        network = build_model(dataclasses.replace(config, **changes), vocabulary, seed=seed)
        for _, places, values in published_weights(network):
            for place in places:
                drawn.setdefault("/".join(place[1:]), []).append(values)
    return {
        place
        for place, variable in recorded(name).items()
        if not is_spread(np.concatenate(drawn[place], axis=None), variable)
    }


def is_spread(values, variable):
    limit = variable["limit"]
    if variable["kind"] in ("zeros", "ones"):
        return (values == limit).all()
    tolerance = 6 / np.sqrt(values.size) + 0.002
    return (
        np.abs(values).max() <= limit * (1 + 1e-6)
        and abs(values.std() / variable["expected_std"] - 1) < tolerance
    )


def is_attention_kernel(place):
    return "mha/" in place and place.endswith("/kernel")


def test_every_weight_is_drawn_as_published(small):
    assert misfits(small, seeds=range(3)) == set()


def test_larger_weights_of_attention_are_noticed(small):
    attention = {place for place in recorded(small[0]) if is_attention_kernel(place)}
    assert len(attention) == 4 * 6  # of two encoder and two decoder layers
    assert misfits(small, attention_initializer="glorot") == attention


@pytest.mark.parametrize("name", PUBLISHED_NAMES)
def test_attention_of_the_published_sizes(name):
    # The layers as they are made, before their weights are drawn: those would take gigabytes.
    network = Pix2Seq(ModelConfig.published(name), Vocabulary())
    limits = {}
    for part, layers in (
        ("encoder/transformer_encoder/enc", network.encoder.layers),
        ("decoder/decoder/dec", network.decoder.layers),
    ):
        for index, layer in enumerate(layers):
            for kind in ("attention", "self_attention", "cross_attention"):
                attention = getattr(layer, kind, None)
                if attention is None:
                    continue
                place = f"{part}_layers/{index}/{kind.replace('attention', 'mha')}"
                first = attention.query if attention._cross else attention.query_key_value
                for letter in ("query", "key", "value"):
                    limits[f"{place}/_{letter}_dense/kernel"] = first.kernel_initializer.maxval
                output = attention.output_projection.kernel_initializer
                limits[f"{place}/_output_dense/kernel"] = output.maxval
    expected = {
        place: variable["limit"]
        for place, variable in recorded(f"published_{name}").items()
        if is_attention_kernel(place)
    }
    assert limits == pytest.approx(expected, rel=1e-5)
