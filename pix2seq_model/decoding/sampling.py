"""Choosing the next token from logits: greedy, top-k and nucleus sampling.

The randomness comes in as numbers in [0, 1) that the caller drew: the same numbers choose the same
tokens, whatever the backend, the batch and the step they are used in.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

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


def draw_uniform(seeds: int | Sequence[int], batch_size: int, length: int) -> np.ndarray:
    """The numbers that decide `length` tokens of each image.

    Args:
      seeds: one seed for every image, so that an image's tokens do not depend on its place in the
        batch; or one seed per image.
      batch_size: number of images.
      length: number of tokens.

    Returns:
      (batch_size, length) float32 in [0, 1).
    """
    per_image = [seeds] * batch_size if isinstance(seeds, int | np.integer) else list(seeds)
    if len(per_image) != batch_size:
        raise ValueError(f"{len(per_image)} seeds for {batch_size} images: give one each.")
    rows = {seed: np.random.default_rng(seed).random(length, np.float32) for seed in per_image}
    return np.stack([rows[seed] for seed in per_image])
