"""What of a network is frozen, by the settings; steps on JAX are in test_loop."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.model_folder.transfer import Transfer, path_in_network
from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.training.settings import StageSettings
from pix2seq_model.training.train import _refuse_frozen_random
from pix2seq_model.training.training_model import frozen_layers
from tests.fixtures import eager_steps, frozen_step, tiny_config, tiny_run


@pytest.mark.parametrize(
    ("freeze", "moved", "still"),
    [
        ("backbone", ["bridge", "decoder", "encoder"], ["encoder/stem"]),
        ("encoder", ["bridge", "decoder"], ["encoder", "encoder/stem"]),
    ],
)
def test_what_is_frozen_stays(monkeypatch, freeze, moved, still):
    eager_steps.use(monkeypatch)
    result = frozen_step.result(freeze)
    assert result["moved"] == moved
    assert result["still"] == still
    assert result["slots"] == 3  # Two moments and the average of what is trained.


def test_batch_statistics_of_a_frozen_backbone_are_taken_as_they_are():
    """Neither used nor updated by the batch, however the network is called."""
    config = tiny_config.model_config(backbone="resnet", resnet_depth=50)
    network = build_model(config, tiny_config.VOCABULARY)
    images = np.random.default_rng(0).random((2, 32, 48, 3), np.float32)
    statistics = [v for v in network.encoder.stem.variables if "moving" in v.path]
    assert statistics
    before = [np.array(keras.ops.convert_to_numpy(v.value)) for v in statistics]
    expected = np.array(network.encoder.stem(images, training=False))
    (layer,) = frozen_layers(network, "backbone")
    layer.trainable = False
    calls = []
    original = layer.call
    layer.call = lambda *args, **kwargs: calls.append(kwargs) or original(*args, **kwargs)
    network.encoder(images, training=True)
    assert [call["training"] for call in calls] == [False]
    np.testing.assert_array_equal(layer(images, training=False), expected)
    for old, variable in zip(before, statistics, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(variable.value))


def test_other_names_are_refused():
    with pytest.raises(ConfigError, match="freeze='stem' is none of 'none', 'backbone'"):
        StageSettings(freeze="stem")


def test_random_weights_are_not_frozen(tmp_path, examples):
    with pytest.raises(ConfigError, match=r"finetune.freeze=encoder .*start_from"):
        tiny_run.train(tmp_path, examples, freeze="encoder")


def test_weights_that_the_base_model_lacks_are_not_frozen():
    network = build_model(tiny_config.model_config(), tiny_config.VOCABULARY)
    job = SimpleNamespace(
        run=SimpleNamespace(stage="finetune", settings=SimpleNamespace(freeze="encoder")),
        base_model_dir="base",
    )
    paths = [path_in_network(v) for v in network.variables]
    of_encoder = next(path for path in paths if path.startswith("encoder/"))
    of_decoder = next(path for path in paths if path.startswith("decoder/"))
    reason = "the base model has no such weight"
    fits = Transfer(taken=[], resized=[], left_out=[f"{of_decoder}: {reason}"])
    _refuse_frozen_random(job, network, fits)
    lacks = Transfer(taken=[], resized=[], left_out=[f"{of_encoder}: {reason}"])
    with pytest.raises(ConfigError, match=r"freeze=encoder would keep random weights, which base"):
        _refuse_frozen_random(job, network, lacks)
