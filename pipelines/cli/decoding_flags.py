"""Flags of the commands that use a model: which one, how its tokens are drawn, what is written.

If it is not given, tokens are drawn as the model folder says: as the model was evaluated and is
served.
"""

from typing import Any

from absl import flags

from pipelines.cli.command_line import flag_values
from pipelines.cli.place_flags import define_place
from pix2seq_model.decoding.settings import BATCH_SIZE
from pix2seq_model.model_folder.thresholds import DEFAULT_SCORE, default_score_of

define_place("model", None, "Model folder, or a pushed version.", required=True)
flags.DEFINE_integer("max_objects", None, "Objects an image.", lower_bound=1)
flags.DEFINE_integer("top_k", None, "Sample of the k likeliest; 1 greedy; 0 all.", lower_bound=0)
flags.DEFINE_float("top_p", None, "Sample of the nucleus.", 0.0, 1.0)
flags.DEFINE_float("temperature", None, "Divides the logits.", lower_bound=1e-6)
flags.DEFINE_float("end_token_offset", None, "Added to the end token's logit.")
flags.DEFINE_integer(
    "stop_after_noise",
    None,
    "End an image after so many objects in a row that are likeliest noise; 0 is off.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "decoder_storage",
    None,
    ["float32", "float16"],
    "Of the decoder's numbers; float16 is faster on a processor.",
)
flags.DEFINE_integer("seed", None, "Of the sampling.")

_SCORE_HELP = (
    "Least score of what is written or drawn; of a pushed version the best in its evaluation, "
    "where none is given."
)
_DECODING = (
    *("max_objects", "top_k", "top_p", "temperature", "end_token_offset", "stop_after_noise"),
    *("decoder_storage", "seed"),
)


def decoding_settings() -> dict[str, Any]:
    """The flags that were given: fields of `decoding.DecodeSettings`, and `seed`."""
    values = flag_values(*_DECODING)
    return {name: value for name, value in values.items() if value is not None}


def settle_score_threshold() -> None:
    """Sets --score_threshold, where it was not given, to the best of the model's evaluation."""
    flag = flags.FLAGS["score_threshold"]
    if flag.present:
        return
    score = default_score_of(flags.FLAGS.model)
    if score != flag.value:
        flag.value = score
        print(
            f"--score_threshold={score:.3f}, the best in the evaluation of this model, because "
            "none is given",
            flush=True,
        )


def define_detection_flags() -> None:
    """The flags of commands that write what they find in images."""
    define_place("output", None, "Folder to write.", required=True)
    flags.DEFINE_float("score_threshold", DEFAULT_SCORE, _SCORE_HELP, 0.0, 1.0)
    flags.DEFINE_integer("batch_size", BATCH_SIZE, "Images decoded together.", lower_bound=1)
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16"],
        "Of the network; bfloat16 is for accelerators.",
    )
