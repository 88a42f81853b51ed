"""Fifty steps of a tiny network: plain, in mixed precision, and with activation checkpointing.

    python -m tests.pix2seq_model.fifty_steps

Prints JSON: the running mean of the loss after each step of each way; on JAX also "kept_bytes",
what the forward pass of a deeper network keeps for the backward pass, by the shapes. (Not what the
compiled step takes: the compiler for CPUs undoes the recomputation.)
"""

import dataclasses
import json
import sys

import keras
import numpy as np

from pix2seq_model.network.pix2seq import build_model
from pix2seq_model.network.remat import recompute_activations
from pix2seq_model.training.training_model import TrainingModel
from pix2seq_model.training.training_step import make_step
from tests.pix2seq_model import tiny_network

STEPS = 50
WAYS = ("plain", "mixed", "checkpointing")
_BATCH, _TOKENS = 4, 30


def _batch(random: np.random.Generator, size: int):
    """Tokens that say how bright the image is: something to learn."""
    bright = random.random((_BATCH, 1, 1, 1), np.float32)
    images = bright * random.random((_BATCH, size, size, 3), np.float32)
    tokens = np.repeat(120 + (49 * bright[:, 0, 0]).astype(np.int32), _TOKENS, axis=1)
    return {"image": images, "tokens": tokens}, tokens, np.ones(tokens.shape, np.float32)


def _model(way: str, *, size: int, layers: int) -> TrainingModel:
    keras.config.set_dtype_policy("mixed_bfloat16" if way == "mixed" else "float32")
    config = dataclasses.replace(
        tiny_network.CONFIG, image_size=(size, size), num_encoder_layers=layers
    )
    network = build_model(config, tiny_network.VOCABULARY, seed=1)
    if way == "checkpointing":
        recompute_activations(network)
    return TrainingModel(network, keras.optimizers.AdamW(1e-3), vocabulary=tiny_network.VOCABULARY)


def _losses(way: str) -> list[float]:
    random = np.random.default_rng(0)
    step = make_step(_model(way, size=64, layers=1))
    rows = []
    for _ in range(STEPS):
        step(step.place(_batch(random, 64)))
        step.synchronize()
        rows.append(step.model.log.read()["loss"])
    return rows


def _kept_bytes(way: str) -> int:
    import jax

    model = _model(way, size=256, layers=6)
    weights = [variable.value for variable in model.trainable_variables]
    states = [variable.value for variable in model.state_variables]
    batch = _batch(np.random.default_rng(0), 256)

    def loss(weights):
        logits, _ = model.network.stateless_call(weights, states, batch[0], training=True)
        return keras.ops.sum(logits)

    # What `vjp` returns holds the arrays that the backward pass will read.
    backward = jax.eval_shape(lambda weights: jax.vjp(loss, weights)[1], weights)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(backward))


if __name__ == "__main__":
    result = {way: _losses(way) for way in WAYS}
    if keras.backend.backend() == "jax":
        result["kept_bytes"] = {way: _kept_bytes(way) for way in ("plain", "checkpointing")}
    json.dump(result, sys.stdout)
