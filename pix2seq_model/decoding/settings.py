"""How tokens are chosen. Needs no TensorFlow."""

import dataclasses
from typing import Any

from pix2seq_model.setting_checks import check_settings, setting
from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT

# Images decoded together where a person's own are looked at.
BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """What of a model's decoding is part of a config and of a model folder.

    Attributes:
      max_objects: objects after which a sequence stops.
      top_k: sample from the k likeliest tokens; 1 is greedy, 0 is off.
      top_p: sample from the nucleus of this probability; 1 is off.
      temperature: divides the logits before sampling.
      end_token_offset: added to the logit of the end token: below 0 for models that were trained
        without noise objects and end too early.
      stop_after_noise: a sequence is over after this many objects in a row whose likeliest class
        is noise; 0 is off, as in published decoding. For models that were trained with noise
        objects, which otherwise go on naming them to the end.
      decoder_storage: of the decoder's weights, keys and values while it decodes. "float16" halves
        what a processor reads for each token; products stay float32, but all these numbers are
        rounded, also where nothing gets faster (an accelerator, a served model).
    """

    max_objects: int = setting(100, at_least=1)
    top_k: int = setting(0, at_least=0)
    top_p: float = setting(0.4, at_least=0, at_most=1)
    temperature: float = setting(1.0, above=0)
    end_token_offset: float = 0.0
    stop_after_noise: int = setting(0, at_least=0)
    decoder_storage: str = setting("float32", one_of=("float32", "float16"))

    def decoding(self) -> dict[str, Any]:
        """These fields alone: arguments for `decoding.generate`."""
        names = [field.name for field in dataclasses.fields(SamplingSettings)]
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeSettings(SamplingSettings):
    """How tokens are chosen.

    Attributes:
      stop_at_end: a sequence is over at its first end token, and the batch when all of its
        sequences are. Without it every sequence runs to its full length, or to the noise of
        `stop_after_noise`.
      keep_logits: also return the logits of every step, a large array.

    Raises:
      ConfigError: a value that cannot work.
    """

    stop_at_end: bool = True
    keep_logits: bool = False

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def num_tokens(self) -> int:
        return TOKENS_PER_OBJECT * self.max_objects
