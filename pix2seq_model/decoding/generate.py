"""Generates objects from images, token by token, with cached keys and values.

Each object is five tokens: ymin, xmin, ymax, xmax, class. What the tokens mean in pixels is the
business of `detections`.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from pix2seq_model.decoding.jit import compiled
from pix2seq_model.decoding.sampling import draw_uniform, sample
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.network.slice_update import slice_update
from pix2seq_model.tokens.vocabulary import (
    CLASS_SHIFT,
    DETECTION_PROMPT,
    PADDING,
    TOKENS_PER_OBJECT,
)


def generate(
    model: Pix2Seq,
    images: Any,
    *,
    seed: int | Sequence[int] = 0,
    batch_size: int | None = None,
    **settings: Any,
) -> dict[str, np.ndarray]:
    """Objects of a batch of images, compiled.

    Args:
      model: the network.
      images: (B, height, width, 3) float in [0, 1], of the model's image size.
      seed: one for all images, or one per image. An image's objects depend on its seed, not on its
        place in the batch.
      batch_size: fills the batch up to this size: a last, smaller batch then needs no new
        compilation.
      **settings: the fields of DecodeSettings.

    Returns:
      tokens (B, 5 * max_objects) int32, 0 after the end of a sequence; class_ids (B, max_objects)
      int32, the likeliest class of each object, 0 where there is no object; scores
      (B, max_objects) float32, its probability; logits (B, 5 * max_objects, V) if kept.
    """
    chosen = DecodeSettings(**settings)
    images = np.asarray(images)
    count = len(images)
    filled = max(batch_size or 0, count)
    if filled > count:
        images = np.concatenate(
            [images, np.zeros((filled - count, *images.shape[1:]), images.dtype)]
        )
    uniform_BL = np.zeros((filled, chosen.num_tokens), np.float32)
    uniform_BL[:count] = draw_uniform(seed, count, chosen.num_tokens)
    alive_B = np.arange(filled) < count
    run = _compiled_for(model, chosen)
    result = run(images, uniform_BL, alive_B)
    return {name: ops.convert_to_numpy(array)[:count] for name, array in result.items()}


def decode_images(model: Pix2Seq, images, uniform_BL, *, settings: DecodeSettings, alive_B=None):
    """As `generate`, on tensors: to be traced inside a compiled function.

    Args:
      model: the network.
      images: (B, height, width, 3) float.
      uniform_BL: (B, 5 * max_objects) float32 in [0, 1), from `sampling.draw_uniform`.
      settings: how tokens are chosen.
      alive_B: (B,) bool, False for rows that only fill the batch; all True if None.
    """
    return decode_memory(
        model, model.encode(images), uniform_BL, settings=settings, alive_B=alive_B
    )


def decode_memory(
    model: Pix2Seq, memory_BND, uniform_BL, *, settings: DecodeSettings, alive_B=None
):
    """As `decode_images`, from encoded images (B, N, D)."""
    batch_size, num_tokens = ops.shape(memory_BND)[0], settings.num_tokens
    vocabulary = model.vocabulary
    past, fixed = model.decoder.start(memory_BND, num_tokens)
    alive_B = ops.ones((batch_size,), dtype="bool") if alive_B is None else alive_B

    def running(position, alive_B, *_):
        return ops.logical_and(position < num_tokens, ops.any(alive_B))

    def step(position, alive_B, last_B, past, tokens_BL, class_ids_BN, scores_BN, logits_BLV):
        logits_BV, past = model.decoder.step(last_B, position, past, fixed)
        if settings.keep_logits:
            logits_BLV = slice_update(logits_BLV, (0, position, 0), logits_BV[:, None])
        offset_V = _end_token_offset(vocabulary.vocab_size, settings.end_token_offset)
        token_B = sample(
            logits_BV + offset_V,
            ops.take(uniform_BL, position, axis=1),
            top_k=settings.top_k,
            top_p=settings.top_p,
            temperature=settings.temperature,
        )
        token_B = ops.where(alive_B, token_B, PADDING)
        tokens_BL = slice_update(tokens_BL, (0, position), token_B[:, None])
        # Every token of an object writes to the object's place; the last one, the class, stays.
        class_id_B, score_B = _likeliest_class(logits_BV, vocabulary)
        slot = position // TOKENS_PER_OBJECT
        is_class = position % TOKENS_PER_OBJECT == TOKENS_PER_OBJECT - 1
        valid_B = ops.logical_and(alive_B, is_class)
        class_ids_BN = slice_update(
            class_ids_BN, (0, slot), ops.where(valid_B, class_id_B, 0)[:, None]
        )
        scores_BN = slice_update(scores_BN, (0, slot), ops.where(valid_B, score_B, 0.0)[:, None])
        if settings.stop_at_end:
            alive_B = ops.logical_and(alive_B, token_B != PADDING)
        return position + 1, alive_B, token_B, past, tokens_BL, class_ids_BN, scores_BN, logits_BLV

    kept = num_tokens if settings.keep_logits else 0
    state = ops.while_loop(
        running,
        step,
        (
            ops.convert_to_tensor(0, dtype="int32"),
            alive_B,
            ops.full((batch_size,), DETECTION_PROMPT, dtype="int32"),
            past,
            ops.full((batch_size, num_tokens), PADDING, dtype="int32"),
            ops.zeros((batch_size, settings.max_objects), dtype="int32"),
            ops.zeros((batch_size, settings.max_objects), dtype="float32"),
            ops.zeros((batch_size, kept, vocabulary.vocab_size), dtype="float32"),
        ),
    )
    result = {"tokens": state[4], "class_ids": state[5], "scores": state[6]}
    return {**result, "logits": state[7]} if settings.keep_logits else result


def _likeliest_class(logits_BV, vocabulary):
    """The likeliest class and its probability among all tokens: (B,) int32, (B,) float32."""
    class_logits = logits_BV[:, CLASS_SHIFT : vocabulary.coord_shift]
    best_B = ops.max(class_logits, axis=-1)
    score_B = ops.exp(best_B - ops.logsumexp(logits_BV, axis=-1))
    return ops.cast(ops.argmax(class_logits, axis=-1), "int32"), score_B


def _end_token_offset(vocab_size: int, offset: float) -> np.ndarray:
    offsets = np.zeros(vocab_size, np.float32)
    offsets[PADDING] = offset
    return offsets


_compiled_functions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _compiled_for(model: keras.Model, settings: DecodeSettings):
    functions = _compiled_functions.setdefault(model, {})
    if settings not in functions:
        # A weak reference, lest the cache's value keep its own key alive.
        network: Any = weakref.proxy(model)
        functions[settings] = compiled(
            lambda images, uniform_BL, alive_B: decode_images(
                network, images, uniform_BL, settings=settings, alive_B=alive_B
            ),
            network,
        )
    return functions[settings]
