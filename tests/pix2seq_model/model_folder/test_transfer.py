"""Starting from another model: what is taken, moved and left out."""

import dataclasses

import numpy as np
import pytest

from pix2seq_model.errors import ModelError
from pix2seq_model.experiment import validation as experiment
from pix2seq_model.model_folder.folder import ModelInfo, save_model_folder
from pix2seq_model.model_folder.transfer import take_base_weights, transfer_weights
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.tokens.vocabulary import Vocabulary
from tests.fixtures import tiny_run
from tests.fixtures.tiny_config import VOCABULARY


def _model(vocabulary=VOCABULARY, *, seed=0, **changes):
    config = experiment.model_config(tiny_run.config(), "finetune")
    return build_model(dataclasses.replace(config, **changes), vocabulary, seed=seed)


def _values(network):
    return {weight.path.split("/", 1)[1]: weight.numpy() for weight in network.weights}


def _transfer(network, base, old=VOCABULARY):
    return transfer_weights(
        network, _values(base), old_vocabulary=old, new_vocabulary=network.vocabulary
    )


def _equal(a, b):
    a, b = _values(a), _values(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_another_image_size_takes_everything():
    network, base = _model(seed=1, image_size=(64, 96)), _model()
    assert not _equal(network, base)
    transfer = _transfer(network, base)
    assert len(transfer.taken) == len(network.weights)
    assert not transfer.resized
    assert not transfer.left_out
    assert _equal(network, base)


def test_a_longer_sequence_takes_the_first_positions():
    network, base = _model(seed=1, max_seq_len=20), _model(max_seq_len=16)
    initial = _values(network)["decoder/position_embedding"]
    transfer = _transfer(network, base)
    positions = _values(network)["decoder/position_embedding"]
    assert np.array_equal(positions[:16], _values(base)["decoder/position_embedding"])
    assert np.array_equal(positions[16:], initial[16:])
    assert transfer.resized == [
        "decoder/position_embedding: the first 16 of 20 positions taken",
    ]


def test_another_vocabulary_moves_the_rows():
    old_vocabulary = Vocabulary(vocab_size=160, num_bins=32, coord_shift=120)
    new_vocabulary = Vocabulary(vocab_size=230, num_bins=63, coord_shift=140)
    base, network = _model(old_vocabulary), _model(new_vocabulary, seed=1)
    initial = _values(network)["decoder/token_embedding"]
    transfer = _transfer(network, base, old_vocabulary)
    old, new = (_values(m)["decoder/token_embedding"] for m in (base, network))
    # Special tokens and classes keep their row; classes that are new keep the initial one.
    assert np.array_equal(new[:120], old[:120])
    assert np.array_equal(new[120:140], initial[120:140])
    # 63 bins lie on the 32 old ones and half-way between them.
    assert new[140] == pytest.approx(old[120])
    assert new[202] == pytest.approx(old[151])
    assert new[142] == pytest.approx(old[121], abs=1e-6)
    assert new[143] == pytest.approx((old[121] + old[122]) / 2, abs=1e-6)
    assert np.array_equal(new[203:], initial[203:])
    assert [line.split(":")[0] for line in transfer.resized] == [
        "decoder/token_embedding",
        "decoder/output_bias",
    ]
    assert "resized: decoder/token_embedding" in transfer.text()


def test_weights_of_another_shape_are_left_out():
    network, base = _model(seed=1, mlp_dim_decoder=48), _model()
    initial = _values(network)
    transfer = _transfer(network, base)
    assert [line.split(":")[0] for line in transfer.left_out] == [
        "decoder/layer0/mlp/expand/kernel",
        "decoder/layer0/mlp/expand/bias",
        "decoder/layer0/mlp/contract/kernel",
    ]
    name = "decoder/layer0/mlp/expand/kernel"
    assert np.array_equal(_values(network)[name], initial[name])
    assert f"left as initialised: {name}: (16, 32) in the base model, (16, 48) here" in (
        transfer.text()
    )


def test_more_layers_keep_their_own_start():
    network, base = _model(seed=1, num_decoder_layers=2), _model()
    transfer = _transfer(network, base)
    assert {line.split("/")[1] for line in transfer.left_out} == {"layer1"}


def test_a_model_folder(tmp_path):
    base = _model()
    info = ModelInfo(
        model=base.model_config,
        vocabulary=VOCABULARY,
        categories=tiny_run.CATEGORIES,
        max_objects=3,
    )
    save_model_folder(str(tmp_path), base, info=info)
    network = _model(seed=1, image_size=(64, 64))
    transfer, read = take_base_weights(network, tmp_path)
    assert _equal(network, base)
    assert len(transfer.taken) == len(base.weights)
    assert read.model == base.model_config


def test_a_model_of_another_width_is_refused(tmp_path):
    base = _model()
    info = ModelInfo(model=base.model_config, vocabulary=VOCABULARY, categories=(), max_objects=3)
    save_model_folder(str(tmp_path), base, info=info)
    network = _model(dim_encoder=20, dim_decoder=24, mlp_dim_encoder=40, mlp_dim_decoder=48)
    with pytest.raises(ModelError, match=r"encoder width 16 .*encoder width 20"):
        take_base_weights(network, tmp_path)
