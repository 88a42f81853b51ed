"""How long it takes to read the objects off an image. Prints one line of JSON.

    python benchmarks/decode.py --backbone=vit_b --image_size=640 --batch_size=1

Times the encoder, the decoder and both, as they run in evaluation, and the same network without any
cache, which puts every token so far through the whole decoder for each new token. Both decode
greedily, with the same drawn weights; sequences run to their full length. The exit status is 1 if
their tokens differ. In the same run: the decoder with its numbers stored as float16
(`decoder_storage`), and the speed of this machine's memory, next to which the decoder reads what a
token needs at least. The backend is the one that KERAS_BACKEND names; no TensorFlow is needed where
it is JAX.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from keras import ops

from benchmarks.device import device_name, peak_memory
from benchmarks.memory_speed import memory_speed
from configs import own_data
from pix2seq_model.decoding.generate import decoder_for, encoder_for
from pix2seq_model.decoding.jit import compiled
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.network.config import PUBLISHED_NAMES, ModelConfig
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.tokens.vocabulary import DETECTION_PROMPT, Vocabulary

# As it is drawn, the decoder repeats a token or two, whatever it sees, and equal tokens would say
# little. With its matrices this much larger every token depends on those before.
_LIVELIER = 3.0
# Without a cache the tokens so far are filled up to a multiple of this many, so that a handful of
# shapes are compiled, not one for each length.
_UNCACHED_STRIDE = 25
_BYTES = {"float32": 4, "float16": 2}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vit_b", choices=PUBLISHED_NAMES)
    parser.add_argument("--own_data", help="a size of configs/own_data.py instead")
    parser.add_argument("--image_size", type=int, default=640, help="pixels, of both sides")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--max_objects", type=int, default=100)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--repeats", type=int, default=3, help="the median of them counts")
    parser.add_argument("--no_uncached", action="store_true", help="only our own way")
    given = parser.parse_args(arguments)
    result = measure(given)
    print(json.dumps(result))
    return 1 if result.get("tokens_equal") is False else 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Seconds for a batch, and what follows from them."""
    keras.config.set_dtype_policy(given.precision)
    size = (given.image_size, given.image_size)
    if given.own_data:
        config = own_data.get_config(given.own_data)
        model = ModelConfig(**{**config.model.to_dict(), "image_size": size})
        network = build_model(model, Vocabulary(**config.vocabulary.to_dict()))
    else:
        network = build_model(ModelConfig.published(given.backbone, size), Vocabulary())
    for weight in network.decoder.trainable_weights:
        if weight.name == "kernel":
            weight.assign(_LIVELIER * weight)
    settings = DecodeSettings(max_objects=given.max_objects, top_k=1, stop_at_end=False)
    halved = dataclasses.replace(settings, decoder_storage="float16")
    images = np.random.default_rng(0).random((given.batch_size, *size, 3), np.float32)
    # Greedy decoding looks at no random numbers.
    uniform_BL = np.zeros((given.batch_size, settings.num_tokens), np.float32)

    encode = encoder_for(network)
    decoders = {each: decoder_for(network, each) for each in (settings, halved)}
    nothing_B = np.zeros(given.batch_size, bool)

    def decode(memory, settings=settings):
        return decoders[settings](memory, uniform_BL, nothing_B)

    memory = encode(images)
    seconds = {
        "encoder": _median_seconds(lambda: encode(images), given.repeats),
        "decoder": _median_seconds(lambda: decode(memory), given.repeats),
        "both": _median_seconds(lambda: decode(encode(images)), given.repeats),
    }
    result = {
        "network": given.own_data or given.backbone,
        "image_size": given.image_size,
        "batch_size": given.batch_size,
        "tokens": settings.num_tokens,
        "precision": given.precision,
        "backend": keras.backend.backend(),
        "device": device_name(),
        "seconds": seconds,
        "images_per_s": given.batch_size / seconds["both"],
        "decoder_in_encoders": seconds["decoder"] / seconds["encoder"],
        "peak_memory_gib": peak_memory() / 2**30,
    }
    if given.precision == "float32":
        seconds["decoder_float16"] = _median_seconds(lambda: decode(memory, halved), given.repeats)
        seconds["both_float16"] = _median_seconds(
            lambda: decode(encode(images), halved), given.repeats
        )
        result["float16"] = _float16_beside_float32(
            network, memory, decode(memory)["tokens"], decode(memory, halved)["tokens"]
        )
        result["float16"]["times_faster"] = seconds["decoder"] / seconds["decoder_float16"]
        speeds = memory_speed(network)
        bytes_of = {storage: step_bytes(network, memory, settings, storage) for storage in _BYTES}
        result["gb_per_s"] = speeds | {
            "decoder": bytes_of["float32"] * settings.num_tokens / seconds["decoder"] / 1e9,
            "decoder_float16": bytes_of["float16"]
            * settings.num_tokens
            / seconds["decoder_float16"]
            / 1e9,
        }
        result["mb_a_token"] = {storage: size / 1e6 for storage, size in bytes_of.items()}
    if not given.no_uncached:
        tokens = ops.convert_to_numpy(decode(encode(images))["tokens"])
        seconds["decoder_uncached"], uncached = _decode_uncached(
            network, memory, settings.num_tokens
        )
        result["times_faster"] = (seconds["encoder"] + seconds["decoder_uncached"]) / seconds[
            "both"
        ]
        result["tokens_equal"] = bool(np.array_equal(tokens, uncached))
        result["distinct_tokens"] = len(np.unique(tokens))
    return _rounded(result)


def step_bytes(network: Pix2Seq, memory, settings: DecodeSettings, storage: str) -> int:
    """Bytes that a step reads at least: the weights once, and each image's keys and values."""
    config = network.model_config
    weights = sum(
        int(np.prod(dense.kernel.shape))
        for layer in network.decoder.layers
        for dense in layer.step_layers
    )
    weights += network.vocabulary.vocab_size * config.dim_decoder
    attention = network.decoder.layers[0].self_attention
    width = attention.num_heads * attention.head_dim
    positions = memory.shape[0] * (memory.shape[1] + settings.num_tokens)
    caches = 2 * config.num_decoder_layers * positions * width
    # Several images share float32 weights, see `HalfProducts`.
    of_weights = _BYTES[storage] if memory.shape[0] == 1 else _BYTES["float32"]
    return weights * of_weights + caches * _BYTES[storage]


def _float16_beside_float32(network: Pix2Seq, memory, tokens_BL, half_BL) -> dict[str, float]:
    """How many of the tokens are equal; and, of those that float16 gave, are what float32 says of
    the same tokens before.
    """
    tokens_BL, half_BL = (ops.convert_to_numpy(each) for each in (tokens_BL, half_BL))
    prompt_B1 = np.full((len(half_BL), 1), DETECTION_PROMPT, np.int32)
    given_BL = np.concatenate([prompt_B1, half_BL[:, :-1]], axis=1)
    run = compiled(lambda *given: ops.argmax(network.decode(*given), axis=-1), network)
    likeliest_BL = ops.convert_to_numpy(run(given_BL, memory))
    return {
        "equal_tokens": float(np.mean(tokens_BL == half_BL)),
        "likeliest_in_float32": float(np.mean(likeliest_BL == half_BL)),
    }


def _decode_uncached(network: Pix2Seq, memory, num_tokens: int) -> tuple[float, np.ndarray]:
    """Greedy tokens (B, num_tokens), and the seconds they took once compiled."""

    def likeliest(tokens_BL, memory, position):
        # Causal: what fills the sequence behind the position has no say.
        logits_BV = ops.take(network.decode(tokens_BL, memory), position, axis=1)
        return ops.argmax(logits_BV, axis=-1)

    run = compiled(likeliest, network)
    batch_size = memory.shape[0]
    lengths = [
        min(num_tokens, -(-(position + 1) // _UNCACHED_STRIDE) * _UNCACHED_STRIDE)
        for position in range(num_tokens)
    ]
    for length in sorted(set(lengths)):
        _wait(run(np.zeros((batch_size, length), np.int32), memory, np.int32(0)))
    tokens = np.zeros((batch_size, num_tokens + 1), np.int32)
    tokens[:, 0] = DETECTION_PROMPT
    start = time.perf_counter()
    for position, length in enumerate(lengths):
        token_B = run(tokens[:, :length], memory, np.int32(position))
        tokens[:, position + 1] = ops.convert_to_numpy(token_B)
    return time.perf_counter() - start, tokens[:, 1:]


def _median_seconds(function: Callable[[], Any], repeats: int) -> float:
    """The median after a first call, which compiles."""
    _wait(function())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        _wait(function())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _wait(result) -> None:
    for tensor in keras.tree.flatten(result):
        ops.convert_to_numpy(tensor)


def _rounded(value):
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
