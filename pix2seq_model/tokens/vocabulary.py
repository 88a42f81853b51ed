"""The one vocabulary of token ids: padding, prompt, noise class, classes and coordinate bins.

Layout (Chen et al., "Pix2seq: A Language Modeling Framework for Object Detection",
arXiv:2109.10852, and its published checkpoints):

    0                              padding, which is also the end of a sequence
    10                             the prompt of object detection
    30                             the noise class: an object that is not there
    100 + c                        class c, the data set's own category id, from 1
    coord_shift + b                coordinate bin b, 0 <= b < num_bins
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import check_settings, setting

PADDING = 0
DETECTION_PROMPT = 10
NOISE_CLASS = 30
CLASS_SHIFT = 100
# ymin, xmin, ymax, xmax, class.
TOKENS_PER_OBJECT = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Sizes of the vocabulary and the maps between values and tokens.

    The methods take and return arrays of any shape. `xp` is the array module that does the
    arithmetic: `numpy` by default, or `keras.ops`, or `tensorflow`.

    Attributes:
      vocab_size: number of token ids, coordinates included.
      num_bins: number of bins of one coordinate.
      coord_shift: token id of coordinate bin 0.

    Raises:
      ConfigError: the three numbers contradict each other.
    """

    vocab_size: int = 3000
    num_bins: int = setting(1000, at_least=2)
    coord_shift: int = 1000

    def __post_init__(self) -> None:
        check_settings(self, "vocabulary")
        if self.coord_shift < CLASS_SHIFT + 2:
            raise ConfigError(
                f"vocabulary.coord_shift={self.coord_shift} leaves no room for classes, whose "
                f"tokens start at {CLASS_SHIFT + 1}: use at least {CLASS_SHIFT + 2}."
            )
        if self.coord_shift + self.num_bins > self.vocab_size:
            raise ConfigError(
                f"vocabulary.coord_shift + vocabulary.num_bins = {self.coord_shift} + "
                f"{self.num_bins} exceeds vocabulary.vocab_size={self.vocab_size}: set "
                f"vocab_size to at least {self.coord_shift + self.num_bins}."
            )

    @property
    def max_category_id(self) -> int:
        """Highest category id that has a token of its own."""
        return self.coord_shift - CLASS_SHIFT - 1

    def check_categories(self, category_ids: Iterable[int], *, source: str) -> None:
        """Raises ConfigError unless every category id has a token.

        Args:
          category_ids: of the data set.
          source: where the ids come from, for the message.
        """
        bad = sorted(c for c in category_ids if not 1 <= c <= self.max_category_id)
        if bad:
            raise ConfigError(
                f"{source}: category ids {bad[:5]} have no token; with vocabulary.coord_shift="
                f"{self.coord_shift} ids must be in 1..{self.max_category_id}. Raise "
                "vocabulary.coord_shift (and vocab_size with it), or convert the data set again "
                f"with --max_category_id={self.max_category_id}, which numbers the categories "
                "from 1."
            )

    def quantize(self, coordinates: Any, *, xp: Any = np) -> Any:
        """Coordinates in [0, 1] to tokens: round(x * (num_bins - 1)), halves to even, clipped."""
        bins = self._clip(xp.round(coordinates * (self.num_bins - 1)), xp)
        return _cast(bins, "int32", xp) + self.coord_shift

    def dequantize(self, tokens: Any, *, xp: Any = np) -> Any:
        """Coordinate tokens to float32 coordinates b / (num_bins - 1).

        A token that is no coordinate reads as the nearest one, so the result is in [0, 1].
        """
        bins = self._clip(tokens - self.coord_shift, xp)
        return _cast(bins, "float32", xp) / (self.num_bins - 1)

    def _clip(self, bins: Any, xp: Any) -> Any:
        return xp.minimum(xp.maximum(bins, 0), self.num_bins - 1)

    def class_token(self, category_ids: Any) -> Any:
        """Category ids to class tokens."""
        return category_ids + CLASS_SHIFT

    def category_id(self, class_tokens: Any) -> Any:
        """Class tokens to category ids."""
        return class_tokens - CLASS_SHIFT


def _cast(array: Any, dtype: str, xp: Any) -> Any:
    return xp.asarray(array, dtype) if xp is np else xp.cast(array, dtype)
