import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from pix2seq_model.errors import CheckpointError
from pix2seq_model.published.checkpoint import (
    describe_architecture,
    load_published_checkpoint,
)
from pix2seq_model.published.object_graph import ObjectGraphCheckpoint, find_prefix
from tests.fixtures import published_layout, reference
from tests.fixtures.tiny_model import network

RESNET = {"backbone": "resnet", "resnet_width_multiplier": 0.125, "image_size": (64, 96)}
VARIANTS = {
    "vit": {},
    "vit_apart": {
        "use_class_token": True,
        "shared_embedding": False,
        "output_bias": False,
        "bridge": "linear_p",
    },
    "resnet": RESNET,
    "resnet101_c4": {**RESNET, "resnet_depth": 101, "resnet_variant": "c4", "bridge": "linear"},
    "resnet_dc5": {**RESNET, "resnet_variant": "dc5", "use_class_token": True},
}


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def write_config(folder, **model_fields):
    config = config_of(folder)
    config["model"].update(model_fields)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return published_layout.write(tmp_path_factory.mktemp("published") / "vit", network())


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def _variants():
    """The small kinds; those that differ from them by depth or a stride are for `test-large`."""
    large = {"resnet101_c4", "resnet_dc5"}
    return [
        pytest.param(name, marks=pytest.mark.large if name in large else ()) for name in VARIANTS
    ]


@pytest.fixture(scope="module", params=_variants())
def variant(request, tmp_path_factory):
    """A network of each kind, and the folder that it was written to."""
    original = network(seed=4, **VARIANTS[request.param])
    return original, published_layout.write(tmp_path_factory.mktemp("variant"), original)


def test_every_weight_comes_back(variant):
    original, folder = variant
    loaded = load_published_checkpoint(str(folder))
    assert loaded.network.model_config == original.model_config
    assert loaded.network.vocabulary == original.vocabulary
    assert len(loaded.report.loaded) == len(original.weights)
    assert not loaded.report.missing
    assert not loaded.report.unused
    for ours, theirs in zip(loaded.network.weights, original.weights, strict=True):
        assert ours.path == theirs.path
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))


def test_what_the_config_lacks_is_read_off_the_checkpoint(variant):
    original, folder = variant
    config = config_of(folder)
    # What no weight tells: the bridge without an MLP, the dilation, bins and image size.
    kept = {"image_size", "coord_vocab_shift", "resnet_variant", "dec_proj_mode"}
    config["model"] = {
        field: value for field, value in config["model"].items() if field in kept
    } | {"a_field_of_the_future": [1, 2]}
    checkpoint = ObjectGraphCheckpoint(str(folder))
    model_config, vocabulary = describe_architecture(config, checkpoint)
    assert model_config == original.model_config
    assert vocabulary == original.vocabulary


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_the_recorded_checkpoints_load_whole(name):
    place = reference.model_folder(name)
    loaded = load_published_checkpoint(str(place / "checkpoint_dir"))
    assert not loaded.report.missing
    assert not loaded.report.unused
    assert loaded.report.num_slots > 0
    assert loaded.network.count_params() == config_of(place)["params_total"]


def test_image_size_as_one_number_or_as_asked(copied):
    write_config(copied, image_size=64)
    assert load_published_checkpoint(str(copied)).network.model_config.image_size == (64, 64)
    loaded = load_published_checkpoint(str(copied), image_size=(48, 80))
    assert loaded.network.model_config.image_size == (48, 80)


def test_folder_prefix_and_latest(copied):
    prefix = str(copied / "ckpt-7")
    assert (
        find_prefix(str(copied)) == find_prefix(prefix) == find_prefix(f"{prefix}.index") == prefix
    )
    (copied / "checkpoint").write_text('model_checkpoint_path: "ckpt-7"\n')
    assert find_prefix(str(copied)) == prefix


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file ending in .index"):
        load_published_checkpoint(str(tmp_path))
    with pytest.raises(CheckpointError, match="neither a folder nor the prefix"):
        load_published_checkpoint(str(tmp_path / "ckpt"))


def test_a_truncated_data_file(copied):
    (data,) = copied.glob("*.data-*")
    data.write_bytes(data.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=r"ckpt-7 (is truncated|cannot be read).* again"):
        load_published_checkpoint(str(copied))


def test_a_truncated_index(copied):
    index = copied / "ckpt-7.index"
    index.write_bytes(index.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="ckpt-7 cannot be read"):
        load_published_checkpoint(str(copied))


def test_a_missing_data_file(copied):
    (data,) = copied.glob("*.data-*")
    data.unlink()
    with pytest.raises(CheckpointError, match="ckpt-7"):
        load_published_checkpoint(str(copied))


def test_damaged_values(copied):
    (data,) = copied.glob("*.data-*")
    content = bytearray(data.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = b"\x00\xff\x00\xff"
    data.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"values of model/.* cannot be read"):
        load_published_checkpoint(str(copied))


def test_a_missing_weight_is_named(tmp_path):
    lacking = "model/encoder/transformer_encoder/enc_layers/1/mha/_value_dense/bias"
    published_layout.write(tmp_path, network(), leave_out=lacking)
    with pytest.raises(CheckpointError, match=f"lacks 1 of the network's weights: {lacking}"):
        load_published_checkpoint(str(tmp_path))
    loaded = load_published_checkpoint(str(tmp_path), allow_missing=True)
    assert loaded.report.missing == (lacking,)
    assert lacking in loaded.report.describe()


def test_a_weight_without_a_place_is_named(tmp_path):
    published_layout.write(tmp_path, network(), extra="segmentation_head")
    with pytest.raises(CheckpointError, match="no place for: model/segmentation_head"):
        load_published_checkpoint(str(tmp_path))
    loaded = load_published_checkpoint(str(tmp_path), allow_unused=True)
    assert loaded.report.unused == ("model/segmentation_head",)


def test_another_architecture(copied):
    write_config(copied, dim_att=32, dim_mlp=64)
    with pytest.raises(CheckpointError, match=r"another architecture.*has shape"):
        load_published_checkpoint(str(copied))
    write_config(copied, dim_att=24, dim_mlp=48, resnet_variant="standard")
    with pytest.raises(CheckpointError, match=r"another architecture.*it lacks"):
        load_published_checkpoint(str(copied))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "diffusion"),
        ("pos_encoding", "learned"),
        ("resnet_sk_ratio", 0.25),
        ("resnet_variant", "c3"),
        ("dec_proj_mode", "conv"),
    ],
)
def test_other_kinds_of_network_are_refused(field, value, copied):
    write_config(copied, **{field: value})
    with pytest.raises(CheckpointError, match=str(value)):
        load_published_checkpoint(str(copied))


def test_no_config(copied):
    (copied / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_published_checkpoint(str(copied))


def test_a_checkpoint_by_name_only(copied):
    for file in copied.glob("ckpt-*"):
        file.unlink()
    tf.raw_ops.SaveV2(
        prefix=str(copied / "ckpt-7"),
        tensor_names=["model/proj/kernel"],
        shape_and_slices=[""],
        tensors=[tf.zeros(3)],
    )
    with pytest.raises(CheckpointError, match="no object-graph checkpoint"):
        load_published_checkpoint(str(copied))
