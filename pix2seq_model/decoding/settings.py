"""How tokens are chosen. Needs no TensorFlow."""

import dataclasses

from pix2seq_model.tokens.vocabulary import TOKENS_PER_OBJECT


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """How tokens are chosen.

    Attributes:
      max_objects: objects after which a sequence stops.
      top_k: sample from the k likeliest tokens; 1 is greedy, 0 is off.
      top_p: sample from the nucleus of this probability; 1 is off.
      temperature: divides the logits before sampling.
      end_token_offset: added to the logit of the end token: below 0 for models that were trained
        without noise objects and end too early.
      stop_at_end: a sequence is over at its first end token, and the batch when all of its
        sequences are. Without it every sequence runs to its full length.
      keep_logits: also return the logits of every step, a large array.
    """

    max_objects: int = 100
    top_k: int = 0
    top_p: float = 0.4
    temperature: float = 1.0
    end_token_offset: float = 0.0
    stop_at_end: bool = True
    keep_logits: bool = False

    @property
    def num_tokens(self) -> int:
        return TOKENS_PER_OBJECT * self.max_objects
