"""Generates objects from images, token by token, with cached keys and values.

Each object is five tokens: ymin, xmin, ymax, xmax, class. What the tokens mean in pixels is the
business of `tokens.detections`.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from pix2seq_model.accelerators import computes_on_processor
from pix2seq_model.argument_names import argument, argument_name
from pix2seq_model.decoding.jit import compiled, compiled_encoder
from pix2seq_model.decoding.sampling import draw_uniform, sample
from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.errors import ConfigError
from pix2seq_model.network.pix2seq import Pix2Seq
from pix2seq_model.network.slice_update import is_without_xla, slice_update
from pix2seq_model.tokens.vocabulary import (
    CLASS_SHIFT,
    DETECTION_PROMPT,
    NOISE_CLASS,
    PADDING,
    TOKENS_PER_OBJECT,
    Vocabulary,
)


def generate(
    model: Pix2Seq,
    images: Any,
    *,
    seed: int = 0,
    image_keys: Sequence[int] | np.ndarray | None = None,
    batch_size: int | None = None,
    **settings: Any,
) -> dict[str, np.ndarray]:
    """Objects of a batch of images, compiled.

    Args:
      model: the network.
      images: (B, height, width, 3) float in [0, 1], of the model's image size.
      seed: of the sampled tokens.
      image_keys: a number of each image, from which with the seed the randomness of its tokens
        follows, see `draw_uniform`; None: all have the same.
      batch_size: fills the batch up to this size: a last, smaller batch then needs no new
        compilation.
      **settings: the fields of DecodeSettings.

    Returns:
      tokens (B, 5 * max_objects) int32, 0 behind the end of a sequence; category_ids
      (B, max_objects) int32, the likeliest category of each object, 0 where there is no object;
      scores (B, max_objects) float32, its probability; logits (B, 5 * max_objects, V) if kept.
    """
    chosen = DecodeSettings(**settings)
    images = np.asarray(images)
    count = len(images)
    filled = max(batch_size or 0, count)
    if filled > count:
        images = np.pad(images, [(0, filled - count), *[(0, 0)] * (images.ndim - 1)])
    uniform_BL = np.zeros((filled, chosen.num_tokens), np.float32)
    if chosen.top_k != 1 and count:  # Greedy decoding asks for none.
        keys_B = np.zeros(count, np.int64) if image_keys is None else np.asarray(image_keys)
        uniform_BL[:count] = draw_uniform(seed, keys_B, chosen.num_tokens).numpy()
    encoded_BND = encoder_for(model)(images)
    result = decoder_for(model, chosen)(encoded_BND, uniform_BL, np.arange(filled) >= count)
    return {name: ops.convert_to_numpy(array)[:count] for name, array in result.items()}


def decode_images(
    model: Pix2Seq,
    images: Any,
    uniform_BL: Any,
    *,
    settings: DecodeSettings,
) -> dict[str, Any]:
    """As `generate`, on tensors: to be traced inside a compiled function.

    Args:
      model: the network.
      images: (B, height, width, 3) float.
      uniform_BL: (B, 5 * max_objects) float32 in [0, 1), from `sampling.draw_uniform`.
      settings: how tokens are chosen.
    """
    return decode_memory(model, model.encode(images), uniform_BL, settings=settings)


def decode_memory(
    model: Pix2Seq,
    encoded_BND: Any,
    uniform_BL: Any,
    *,
    settings: DecodeSettings,
    finished_B: Any = None,
) -> dict[str, Any]:
    """As `decode_images`, of images that are encoded already.

    Args:
      model: the network.
      encoded_BND: what `Pix2Seq.encode` returned.
      uniform_BL: see `decode_images`.
      settings: how tokens are chosen.
      finished_B: (B,) bool, True for rows that only fill the batch; all False if None.

    Raises:
      ConfigError: storage as float16 of a network that computes in another precision than float32.
    """
    if settings.decoder_storage != "float32" and model.compute_dtype != "float32":
        raise ConfigError(
            f"{argument('decoder_storage', settings.decoder_storage)} is for networks in "
            f"float32, and this one computes in {model.compute_dtype}: leave out one of "
            f"{argument_name('decoder_storage')} and {argument_name('precision')}."
        )
    batch_size, num_tokens = ops.shape(encoded_BND)[0], settings.num_tokens
    vocabulary = model.vocabulary
    products = model.decoder.step_products(
        settings.decoder_storage,
        batch_size=batch_size,
        # A graph without XLA is an exported one: the same from every machine that exports it.
        on_processor=is_without_xla() or computes_on_processor(),
    )
    kv_cache, cross_kv_cache, output_DV = model.decoder.init_kv_cache(
        encoded_BND, num_tokens, products
    )
    if finished_B is None:
        finished_B = ops.zeros((batch_size,), dtype="bool")
    offset_V = np.zeros(vocabulary.vocab_size, np.float32)
    offset_V[PADDING] = settings.end_token_offset

    def running(index, finished_B, *_):
        return ops.logical_and(index < num_tokens, ops.logical_not(ops.all(finished_B)))

    def step(index, finished_B, noise_B, last_B, kv_cache, tokens_BL, *found):
        category_ids_BN, scores_BN, logits = found
        logits_BV, kv_cache = model.decoder.step(
            last_B,
            index,
            kv_cache,
            cross_kv_cache=cross_kv_cache,
            output_DV=output_DV,
            products=products,
        )
        if settings.keep_logits:
            logits = slice_update(logits, (0, index, 0), logits_BV[:, None])
        token_B = sample(
            logits_BV + offset_V,
            ops.take(uniform_BL, index, axis=1),
            top_k=settings.top_k,
            top_p=settings.top_p,
            temperature=settings.temperature,
        )
        token_B = ops.where(finished_B, PADDING, token_B)
        tokens_BL = slice_update(tokens_BL, (0, index), token_B[:, None])
        is_class = index % TOKENS_PER_OBJECT == TOKENS_PER_OBJECT - 1
        found_B = ops.logical_and(ops.logical_not(finished_B), is_class)
        category_ids_BN, scores_BN = _write_object(
            category_ids_BN, scores_BN, index, found_B, likeliest_category(logits_BV, vocabulary)
        )
        if settings.stop_at_end:
            finished_B = ops.logical_or(finished_B, token_B == PADDING)
        if settings.stop_after_noise:
            noise_B = ops.where(is_class, noise_in_a_row(noise_B, logits_BV, vocabulary), noise_B)
            finished_B = ops.logical_or(finished_B, noise_B >= settings.stop_after_noise)
        written = (tokens_BL, category_ids_BN, scores_BN, logits)
        return index + 1, finished_B, noise_B, token_B, kv_cache, *written

    kept = num_tokens if settings.keep_logits else 0
    *_, tokens_BL, category_ids_BN, scores_BN, logits_BLV = ops.while_loop(
        running,
        step,
        (
            ops.convert_to_tensor(0, dtype="int32"),
            finished_B,
            ops.zeros((batch_size,), dtype="int32"),
            ops.full((batch_size,), DETECTION_PROMPT, dtype="int32"),
            kv_cache,
            ops.full((batch_size, num_tokens), PADDING, dtype="int32"),
            ops.zeros((batch_size, settings.max_objects), dtype="int32"),
            ops.zeros((batch_size, settings.max_objects), dtype="float32"),
            ops.zeros((batch_size, kept, vocabulary.vocab_size), dtype="float32"),
        ),
    )
    result = {"tokens": tokens_BL, "category_ids": category_ids_BN, "scores": scores_BN}
    return {**result, "logits": logits_BLV} if settings.keep_logits else result


def _write_object(
    category_ids_BN: Any, scores_BN: Any, index: Any, found_B: Any, likeliest: tuple[Any, Any]
) -> tuple[Any, Any]:
    """Every token of an object writes to the object's slot; the last one, the class, stays."""
    slot, (category_id_B, score_B) = index // TOKENS_PER_OBJECT, likeliest
    category_id_B = ops.where(found_B, category_id_B, 0)
    score_B = ops.where(found_B, score_B, 0.0)
    return (
        slice_update(category_ids_BN, (0, slot), category_id_B[:, None]),
        slice_update(scores_BN, (0, slot), score_B[:, None]),
    )


def likeliest_category(logits_BV: Any, vocabulary: Vocabulary) -> tuple[Any, Any]:
    """The likeliest category and its probability among all tokens: (B,) int32, (B,) float32."""
    class_logits = logits_BV[:, CLASS_SHIFT : vocabulary.coord_shift]
    best_B = ops.max(class_logits, axis=-1)
    score_B = ops.exp(best_B - ops.logsumexp(logits_BV, axis=-1))
    return ops.cast(ops.argmax(class_logits, axis=-1), "int32"), score_B


def noise_in_a_row(noise_B: Any, logits_BV: Any, vocabulary: Vocabulary) -> Any:
    """One more where noise is likelier than every category, else 0: (B,) int32.

    Args:
      noise_B: (B,) int32, how many objects in a row it was before.
      logits_BV: of an object's class.
      vocabulary: the token ids.
    """
    best_B = ops.max(logits_BV[:, CLASS_SHIFT : vocabulary.coord_shift], axis=-1)
    return ops.where(logits_BV[:, NOISE_CLASS] > best_B, noise_B + 1, 0)


_compiled_functions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def encoder_for(model: Pix2Seq) -> Callable[[Any], Any]:
    """`model.encode`, compiled once for whatever settings follow."""
    functions = _compiled_functions.setdefault(model, {})
    if None not in functions:
        # A weak reference, so that the cache's value does not keep its own key alive.
        functions[None] = compiled_encoder(weakref.proxy(model))
    return functions[None]


def decoder_for(model: Pix2Seq, settings: DecodeSettings) -> Callable[..., dict[str, Any]]:
    """`decode_memory` with these settings, compiled: takes encoded_BND, uniform_BL, finished_B."""
    functions = _compiled_functions.setdefault(model, {})
    if settings not in functions:
        network: Any = weakref.proxy(model)
        functions[settings] = compiled(
            lambda encoded_BND, uniform_BL, finished_B: decode_memory(
                network, encoded_BND, uniform_BL, settings=settings, finished_B=finished_B
            ),
            network,
        )
    return functions[settings]
