"""Choosing the next token from logits: greedy, top-k and nucleus sampling.

The randomness comes in as numbers in [0, 1) that the caller drew: the same numbers choose the same
tokens, whatever the backend, the batch and the step they are used in. Only drawing them needs
TensorFlow: greedy decoding on JAX does without.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

if TYPE_CHECKING:
    import tensorflow as tf

_NEVER = -1e10


def keep_top(logits: Any, *, top_k: int = 0, top_p: float = 1.0) -> Any:
    """Lowers the logits of all but the likeliest tokens to -1e10.

    The nucleus is the published one: sorted by falling probability, the tokens whose cumulative
    probability is at most `top_p`, and always the first. (The more common definition also takes
    the token that crosses `top_p`.) Tokens as likely as the last one kept are kept.

    Args:
      logits: (B, V) float32.
      top_k: keeps the k likeliest before the nucleus is taken; 0 keeps all.
      top_p: cumulative probability of the nucleus; 1 keeps all.

    Returns:
      (B, V) float32.
    """
    if top_k > 0:
        kth_best = ops.top_k(logits, k=min(top_k, logits.shape[-1]))[0][:, -1:]
        logits = ops.where(logits < kth_best, _NEVER, logits)
    if top_p < 1:
        descending = -ops.sort(-logits, axis=-1)
        cumulative = ops.cumsum(ops.softmax(descending, axis=-1), axis=-1)
        inside = ops.where(cumulative <= top_p, descending, np.inf)
        least = ops.minimum(ops.min(inside, axis=-1, keepdims=True), descending[:, :1])
        logits = ops.where(logits < least, _NEVER, logits)
    return logits


def sample(
    logits: Any, uniform_B: Any, *, top_k: int = 0, top_p: float = 1.0, temperature: float = 1.0
) -> Any:
    """One token of each row.

    Args:
      logits: (B, V) float32.
      uniform_B: (B,) float32 in [0, 1): which quantile of the kept tokens to take.
      top_k, top_p: see `keep_top`; top_k of 1 is greedy.
      temperature: divides the logits first.

    Returns:
      (B,) int32.
    """
    if top_k == 1:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    kept = keep_top(logits / temperature, top_k=top_k, top_p=top_p)
    cumulative = ops.cumsum(ops.softmax(kept, axis=-1), axis=-1)
    # Scaling by the last sum, not by 1, so that rounding never runs past the last kept token.
    target = uniform_B[:, None] * cumulative[:, -1:]
    return ops.cast(ops.argmax(cumulative > target, axis=-1), "int32")


def draw_uniform(seed: int, keys_B: Any, length: int) -> "tf.Tensor":
    """The numbers that decide `length` tokens of each image.

    Those of an image follow from the seed and its key alone: neither its place nor its neighbours
    matter, and images of different keys have independent numbers, so that over many images the
    chance in an AP averages out. The same on every backend and inside a SavedModel.

    Args:
      seed: of all.
      keys_B: (B,) int64, a number of each image, see `preprocessing.image_key`.
      length: number of tokens.

    Returns:
      (B, length) float32 in [0, 1).
    """
    import tensorflow as tf

    with tf.device("CPU"):
        return tf.map_fn(
            lambda key: tf.random.stateless_uniform(
                [length], seed=tf.stack([tf.constant(seed, tf.int64), key]), alg="philox"
            ),
            tf.convert_to_tensor(keys_B, tf.int64),
            fn_output_signature=tf.TensorSpec([length], tf.float32),
        )
