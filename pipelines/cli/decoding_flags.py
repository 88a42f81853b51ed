"""Flags that say how a model's tokens are drawn, for the commands that use one.

What is not given is as the model folder says: as the model was evaluated and is served.
"""

from typing import Any

from absl import flags

_FLAGS = {
    "max_objects": flags.DEFINE_integer("max_objects", None, "Objects an image.", lower_bound=1),
    "top_k": flags.DEFINE_integer(
        "top_k", None, "Sample of the k likeliest; 1: greedy; 0: of all.", lower_bound=0
    ),
    "top_p": flags.DEFINE_float("top_p", None, "Sample of the nucleus.", 0.0, 1.0),
    "temperature": flags.DEFINE_float("temperature", None, "Divides the logits.", lower_bound=1e-6),
    "end_token_offset": flags.DEFINE_float(
        "end_token_offset", None, "Added to the end token's logit."
    ),
    "seed": flags.DEFINE_integer("seed", None, "Of the sampling."),
}


def decoding_settings() -> dict[str, Any]:
    """The flags that were given: fields of `decoding.DecodeSettings`, and `seed`."""
    return {name: flag.value for name, flag in _FLAGS.items() if flag.value is not None}
