"""Writes a network's weights as a checkpoint of the published layout, for tests of importing."""

import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.published.weight_names import published_source


class _Object(tf.Module):
    """An object with named children and variables."""


def write(folder: Path, network: Pix2Seq, *, leave_out: str = "", extra: str = "") -> Path:
    """Writes `config.json` and a checkpoint beside it.

    Args:
      folder: where to.
      network: whose weights to write.
      leave_out: published name of a weight to leave out, as "model/proj/kernel".
      extra: name of a weight below `model` that no network has.
    """
    root = {}
    for weight in network.weights:
        config = network.model_config
        in_decoder = "/decoder/" in weight.path
        source = published_source(
            weight,
            num_heads=config.num_heads_decoder if in_decoder else config.num_heads_encoder,
            shared_embedding=config.shared_embedding,
        )
        parts = np.split(keras.ops.convert_to_numpy(weight), len(source.weights), axis=-1)
        for places, part in zip(source.weights, parts, strict=True):
            if "/".join(places[0]) != leave_out:
                _put(root, places[0], part.reshape(source.shape))
    if extra:
        _put(root, ("model", extra), np.zeros(3, np.float32))
    checkpoint = tf.train.Checkpoint(model=_as_object(root["model"]), global_step=tf.Variable(7))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write(str(folder / "ckpt-7"))
    (folder / "config.json").write_text(json.dumps(published_config(network)))
    return folder


def published_config(network: Pix2Seq) -> dict:
    """The network as the published `config.json` describes it."""
    config, vocabulary = network.model_config, network.vocabulary
    return {
        "model": {
            "name": "encoder_ar_decoder",
            "image_size": list(config.image_size),
            "resnet_variant": "c1" if config.backbone == "vit" else config.resnet_variant,
            "resnet_depth": config.resnet_depth,
            "resnet_width_multiplier": config.resnet_width_multiplier,
            "patch_size": config.patch_size,
            "num_encoder_layers": config.num_encoder_layers,
            "dim_att": config.dim_encoder,
            "dim_mlp": config.mlp_dim_encoder,
            "num_heads": config.num_heads_encoder,
            "num_decoder_layers": config.num_decoder_layers,
            "dim_att_dec": config.dim_decoder,
            "dim_mlp_dec": config.mlp_dim_decoder,
            "num_heads_dec": config.num_heads_decoder,
            "dec_proj_mode": config.bridge,
            "use_cls_token": config.use_class_token,
            "shared_decoder_embedding": config.shared_embedding,
            "decoder_output_bias": config.output_bias,
            "max_seq_len": config.max_seq_len,
            "vocab_size": vocabulary.vocab_size,
            "coord_vocab_shift": vocabulary.coord_shift,
        },
        "task": {"quantization_bins": vocabulary.num_bins},
    }


def _put(tree, path, value):
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _as_object(tree):
    made = _Object()
    for name, child in tree.items():
        value = _as_object(child) if isinstance(child, dict) else tf.Variable(child)
        setattr(made, name, value)
    return made
