"""A network as two ONNX graphs: the encoder, and one step of the decoder with its caches.

Both are traced on TensorFlow from the network's own code (`Pix2Seq.encode`, `TokenDecoder.step`)
and converted by tf2onnx: nothing of the network is written a second time. Any batch size fits.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import onnx
import tensorflow as tf
import tf2onnx
from keras import ops

from pix2seq_model.errors import ModelError
from pix2seq_model.model_folder.onnx_folder import (
    CACHE_INDEX,
    IMAGES,
    LOGITS,
    TOKENS,
    UPDATED,
    CacheArray,
)
from pix2seq_model.model_folder.onnx_operations import HANDLERS, OPSET, fuse_layer_norms
from pix2seq_model.network.pix2seq import Pix2Seq


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxGraphs:
    """A network's graphs; what their inputs and outputs are, `onnx_folder.OnnxInfo` says."""

    encoder: onnx.ModelProto
    decoder_step: onnx.ModelProto
    kv_caches: tuple[CacheArray, ...]
    cross_kv_caches: tuple[CacheArray, ...]


def convert_network(network: Pix2Seq, *, num_tokens: int) -> OnnxGraphs:
    """Converts a network.

    Args:
      network: with float32 weights.
      num_tokens: of a sequence; the caches have this length.

    Raises:
      ModelError: the backend is not TensorFlow, or the graphs have operations ONNX lacks.
    """
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            "ONNX graphs are written from the TensorFlow backend: export with "
            "KERAS_BACKEND=tensorflow, whatever backend trained the model."
        )
    one, two = (_empty_caches(network, batch_size, num_tokens) for batch_size in (1, 2))
    kv_caches, cross_kv_caches = (
        _cache_arrays(name, first, second)
        for name, first, second in zip(("kv_cache", "cross_kv_cache"), one, two)
    )

    def encode(images):
        _, cross_kv_cache, _ = network.decoder.init_kv_cache(network.encode(images), num_tokens)
        return _named(cross_kv_caches, cross_kv_cache)

    def step(tokens, cache_index, *caches):
        kv_cache = keras.tree.pack_sequence_as(one[0], caches[: len(kv_caches)])
        cross_kv_cache = keras.tree.pack_sequence_as(one[1], caches[len(kv_caches) :])
        logits_BV, kv_cache = network.decoder.step(
            tokens,
            cache_index,
            kv_cache,
            cross_kv_cache=cross_kv_cache,
            output_DV=ops.transpose(network.decoder.output_embedding),
        )
        return {LOGITS: logits_BV, **_named(kv_caches, kv_cache, prefix=UPDATED)}

    size = network.model_config.image_size
    images = tf.TensorSpec((None, *size, 3), tf.float32, name=IMAGES)
    tokens = tf.TensorSpec((None,), tf.int32, name=TOKENS)
    cache_index = tf.TensorSpec((), tf.int32, name=CACHE_INDEX)
    caches = [_spec(cache) for cache in (*kv_caches, *cross_kv_caches)]
    return OnnxGraphs(
        encoder=_convert(encode, [images]),
        decoder_step=_convert(step, [tokens, cache_index, *caches]),
        kv_caches=kv_caches,
        cross_kv_caches=cross_kv_caches,
    )


def _convert(function: Callable[..., Any], signature: Sequence[tf.TensorSpec]) -> onnx.ModelProto:
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    traced = tf.function(function, autograph=False, input_signature=signature)
    model, _ = tf2onnx.convert.from_function(
        traced,
        input_signature=signature,
        opset=OPSET,
        custom_op_handlers=dict(HANDLERS),
        custom_rewriter=[fuse_layer_norms],
    )
    # What has no counterpart tf2onnx leaves in the graph under TensorFlow's name.
    unknown = {node.op_type for node in model.graph.node if not _is_known(node)}
    if unknown:
        raise ModelError(
            f"ONNX has no counterpart of the network's {', '.join(sorted(unknown))}: say in "
            "model_folder/onnx_operations.py how it is written."
        )
    return model


def _is_known(node: onnx.NodeProto) -> bool:
    try:
        onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    except onnx.defs.SchemaError:
        return False
    return True


def _empty_caches(network: Pix2Seq, batch_size: int, num_tokens: int) -> tuple[Any, Any]:
    """The structures of `init_kv_cache` for so many images; of what is in them only sizes count."""
    images = tf.TensorSpec((batch_size, *network.model_config.image_size, 3), tf.float32)
    encode = tf.function(network.encode, autograph=False).get_concrete_function(images)
    encoded_BND = ops.zeros(encode.structured_outputs.shape)
    return network.decoder.init_kv_cache(encoded_BND, num_tokens)[:2]


def _cache_arrays(name: str, one: Any, two: Any) -> tuple[CacheArray, ...]:
    """Describes the arrays of a structure, given for one image and for two."""
    arrays = []
    for index, (first, second) in enumerate(zip(keras.tree.flatten(one), keras.tree.flatten(two))):
        sizes = list(zip(first.shape, second.shape, strict=True))
        (batch_axis,) = (axis for axis, (size, other) in enumerate(sizes) if size != other)
        arrays.append(
            CacheArray(name=f"{name}_{index}", shape=tuple(first.shape), batch_axis=batch_axis)
        )
    return tuple(arrays)


def _spec(cache: CacheArray) -> tf.TensorSpec:
    shape: list[int | None] = list(cache.shape)
    shape[cache.batch_axis] = None
    return tf.TensorSpec(shape, tf.float32, name=cache.name)


def _named(caches: Sequence[CacheArray], arrays: Any, *, prefix: str = "") -> dict[str, Any]:
    flat = keras.tree.flatten(arrays)
    return {prefix + cache.name: array for cache, array in zip(caches, flat, strict=True)}
