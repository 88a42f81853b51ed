"""Tokens one after the other from the exported decoder step: `decoding.generate` in NumPy.

The caches lie still: ONNX Runtime is handed the same arrays as input and as output of the step, and
its ScatterElements then writes the new token's keys and values in place instead of copying all.
"""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from pix2seq_model.decoding.settings import DecodeSettings
from pix2seq_model.model_folder.onnx_folder import (
    CACHE_INDEX,
    LOGITS,
    TOKENS,
    UPDATED,
    OnnxInfo,
)
from pix2seq_model.onnx_runner.sampling import likeliest_category, noise_in_a_row, sample
from pix2seq_model.tokens.vocabulary import (
    DETECTION_PROMPT,
    PADDING,
    TOKENS_PER_OBJECT,
    Vocabulary,
)


class StepRunner:
    """The decoder step with its caches."""

    def __init__(self, session: onnxruntime.InferenceSession, info: OnnxInfo) -> None:
        self._session, self._info = session, info

    def start(self, cross_kv_caches: Sequence[np.ndarray]) -> None:
        """Begins sequences for the images that the encoder was given.

        Args:
          cross_kv_caches: what the encoder returned, as `OnnxInfo.cross_kv_caches`.
        """
        info = self._info
        first = info.cross_kv_caches[0]
        batch_size = cross_kv_caches[0].shape[first.batch_axis] // first.shape[first.batch_axis]
        self._tokens_B = np.zeros(batch_size, np.int32)
        self._cache_index = np.zeros((), np.int32)
        self._logits_BV = np.empty((batch_size, info.vocabulary.vocab_size), np.float32)
        own = {
            cache.name: np.zeros(cache.shape_for(batch_size), np.float32)
            for cache in info.kv_caches
        }
        cross = {
            cache.name: array
            for cache, array in zip(info.cross_kv_caches, cross_kv_caches, strict=True)
        }
        inputs = {TOKENS: self._tokens_B, CACHE_INDEX: self._cache_index, **own, **cross}
        outputs = {LOGITS: self._logits_BV, **{UPDATED + name: own[name] for name in own}}
        # Views of these arrays, not copies: the arrays live as long as the binding.
        self._bound = (inputs, outputs)
        view = onnxruntime.OrtValue.ortvalue_from_numpy
        self._binding = self._session.io_binding()
        for name, array in inputs.items():
            self._binding.bind_ortvalue_input(name, view(array))
        for name, array in outputs.items():
            self._binding.bind_ortvalue_output(name, view(array))

    @property
    def batch_size(self) -> int:
        return len(self._tokens_B)

    def step(self, tokens_B: np.ndarray, cache_index: int) -> np.ndarray:
        """Logits (B, V) of the tokens that follow; the next call overwrites them.

        Args:
          tokens_B: (B,) int32.
          cache_index: their place in the sequence, 0 for the prompt.
        """
        self._tokens_B[:] = tokens_B
        self._cache_index[...] = cache_index
        self._session.run_with_iobinding(self._binding)
        return self._logits_BV


def decode(
    runner: StepRunner,
    uniform_BL: np.ndarray,
    *,
    settings: DecodeSettings,
    vocabulary: Vocabulary,
) -> dict[str, np.ndarray]:
    """Generates the sequences that a runner was started for.

    Args:
      runner: at the beginning.
      uniform_BL: (B, 5 * max_objects) float32 in [0, 1).
      settings: how tokens are chosen.
      vocabulary: the token ids.

    Returns:
      tokens (B, 5 * max_objects) int32, category_ids (B, max_objects) int32 and scores
      (B, max_objects) float32, see `decoding.generate`.
    """
    batch_size, num_tokens = runner.batch_size, settings.num_tokens
    tokens_BL = np.full((batch_size, num_tokens), PADDING, np.int32)
    category_ids_BN = np.zeros((batch_size, settings.max_objects), np.int32)
    scores_BN = np.zeros((batch_size, settings.max_objects), np.float32)
    offset_V = np.zeros(vocabulary.vocab_size, np.float32)
    offset_V[PADDING] = settings.end_token_offset
    finished_B = np.zeros(batch_size, bool)
    noise_B = np.zeros(batch_size, np.int32)
    token_B = np.full(batch_size, DETECTION_PROMPT, np.int32)
    for index in range(num_tokens):
        logits_BV = runner.step(token_B, index)
        token_B = sample(logits_BV + offset_V, uniform_BL[:, index], settings)
        token_B[finished_B] = PADDING
        tokens_BL[:, index] = token_B
        slot, place = divmod(index, TOKENS_PER_OBJECT)
        if place == TOKENS_PER_OBJECT - 1:
            category_ids_B, scores_B = likeliest_category(logits_BV, vocabulary)
            category_ids_BN[:, slot] = np.where(finished_B, 0, category_ids_B)
            scores_BN[:, slot] = np.where(finished_B, 0, scores_B)
            noise_B = noise_in_a_row(noise_B, logits_BV, vocabulary)
        if settings.stop_at_end:
            finished_B |= token_B == PADDING
        if settings.stop_after_noise:
            finished_B |= noise_B >= settings.stop_after_noise
        if finished_B.all():
            break
    return {"tokens": tokens_BL, "category_ids": category_ids_BN, "scores": scores_BN}
