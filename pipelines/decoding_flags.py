"""Flags that say how a model's tokens are drawn, for the commands that use one."""

from typing import Any

from absl import flags

_MAX_OBJECTS = flags.DEFINE_integer(
    "max_objects", 0, "Objects an image; 0: as in training.", lower_bound=0
)
_TOP_K = flags.DEFINE_integer("top_k", 0, "Sample of the k likeliest; 1: greedy.", lower_bound=0)
_TOP_P = flags.DEFINE_float("top_p", 0.4, "Sample of the nucleus.", 0.0, 1.0)
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Divides the logits.", lower_bound=1e-6)
_END_OFFSET = flags.DEFINE_float("end_token_offset", 0.0, "Added to the end token's logit.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the sampling.")


def decoding_settings() -> dict[str, Any]:
    """What the flags say: fields of `decoding.DecodeSettings`, and `seed`.

    `max_objects` is not among them unless it was given.
    """
    settings = {
        "top_k": _TOP_K.value,
        "top_p": _TOP_P.value,
        "temperature": _TEMPERATURE.value,
        "end_token_offset": _END_OFFSET.value,
        "seed": _SEED.value,
    }
    return settings | ({"max_objects": _MAX_OBJECTS.value} if _MAX_OBJECTS.value else {})
