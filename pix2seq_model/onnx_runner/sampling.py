"""Choosing the next token: `decoding.sampling` in NumPy, where what is chosen is explained."""

import numpy as np

from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, NOISE_CLASS, Vocabulary

_NEVER = np.float32(-1e10)


def sample(logits_BV: np.ndarray, uniform_B: np.ndarray, settings: DecodeSettings) -> np.ndarray:
    """One token of each row.

    Args:
      logits_BV: (B, V) float32.
      uniform_B: (B,) float32 in [0, 1): which quantile of the kept tokens to take.
      settings: `top_k` of 1 is greedy.

    Returns:
      (B,) int32.
    """
    if settings.top_k == 1:
        return np.argmax(logits_BV, axis=-1).astype(np.int32)
    scaled_BV = logits_BV / np.float32(settings.temperature)
    kept_BV = keep_top(scaled_BV, top_k=settings.top_k, top_p=settings.top_p)
    cumulative_BV = np.cumsum(_softmax(kept_BV), axis=-1)
    target_B1 = uniform_B[:, None] * cumulative_BV[:, -1:]
    return np.argmax(cumulative_BV > target_B1, axis=-1).astype(np.int32)


def keep_top(logits_BV: np.ndarray, *, top_k: int, top_p: float) -> np.ndarray:
    """Lowers the logits of all but the likeliest tokens to -1e10."""
    if top_k > 0:
        k = min(top_k, logits_BV.shape[-1])
        kth_best_B1 = -np.partition(-logits_BV, k - 1, axis=-1)[:, k - 1 : k]
        logits_BV = np.where(logits_BV < kth_best_B1, _NEVER, logits_BV)
    if top_p < 1:
        descending_BV = -np.sort(-logits_BV, axis=-1)
        cumulative_BV = np.cumsum(_softmax(descending_BV), axis=-1)
        inside_BV = np.where(cumulative_BV <= np.float32(top_p), descending_BV, np.inf)
        least_B1 = np.minimum(inside_BV.min(axis=-1, keepdims=True), descending_BV[:, :1])
        logits_BV = np.where(logits_BV < least_B1, _NEVER, logits_BV)
    return logits_BV


def likeliest_category(
    logits_BV: np.ndarray, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest category and its probability among all tokens: (B,) int32, (B,) float32."""
    classes_BC = logits_BV[:, CLASS_SHIFT : vocabulary.coord_shift]
    best_B1 = logits_BV.max(axis=-1, keepdims=True)
    log_sum_B = best_B1[:, 0] + np.log(np.exp(logits_BV - best_B1).sum(axis=-1))
    scores_B = np.exp(classes_BC.max(axis=-1) - log_sum_B)
    return np.argmax(classes_BC, axis=-1).astype(np.int32), scores_B


def _softmax(logits_BV: np.ndarray) -> np.ndarray:
    exponentials_BV = np.exp(logits_BV - logits_BV.max(axis=-1, keepdims=True))
    return exponentials_BV / exponentials_BV.sum(axis=-1, keepdims=True)


def noise_in_a_row(
    noise_B: np.ndarray, logits_BV: np.ndarray, vocabulary: Vocabulary
) -> np.ndarray:
    """One more where noise is likelier than every category, else 0: (B,) int32.

    Args:
      noise_B: (B,) int32, how many objects in a row it was before.
      logits_BV: of an object's class.
      vocabulary: the token ids.
    """
    best_B = logits_BV[:, CLASS_SHIFT : vocabulary.coord_shift].max(axis=-1)
    return np.where(logits_BV[:, NOISE_CLASS] > best_B, noise_B + 1, 0).astype(np.int32)
