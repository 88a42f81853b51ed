"""The loss, and what the log says of a batch.

The loss is the weighted mean of the cross-entropy, sum(w * loss) / sum(w) over the tokens of a
batch. What goes into the log falls out of the same numbers.

Shape suffixes: B batch, L tokens, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, NOISE_CLASS, Vocabulary

# Of the log: a pair of sums for each name.
Sums = dict[str, tuple[Any, Any]]


def token_losses(targets_BL, logits_BLV, *, label_smoothing: float = 0.0):
    """Cross-entropy of every token, (B, L) float32.

    With smoothing e the target is 1 - e on the token plus e / V on all (arXiv:1512.00567).
    """
    losses_BL = keras.losses.sparse_categorical_crossentropy(
        targets_BL, logits_BLV, from_logits=True
    )
    if not label_smoothing:
        return losses_BL
    uniform_BL = ops.logsumexp(logits_BLV, axis=-1) - ops.mean(logits_BLV, axis=-1)
    return (1 - label_smoothing) * losses_BL + label_smoothing * uniform_BL


def total_weight(batch):
    """Sum of the weights of a batch's tokens."""
    return ops.sum(ops.cast(batch[2], "float32"))


def loss_and_sums(
    targets_BL,
    logits_BLV,
    weights_BL,
    *,
    total,
    vocabulary: Vocabulary,
    label_smoothing: float = 0.0,
) -> tuple[Any, Sums]:
    """The loss of a batch, or the share that a part of it has in the loss, and the log's sums.

    Args:
      targets_BL: int token ids.
      logits_BLV: of the network.
      weights_BL: of the tokens.
      total: `total_weight` of the whole batch.
      vocabulary: the token ids.
      label_smoothing: see `token_losses`.

    Returns:
      The loss, and for each mean of the log (sum(w * x), sum(w)).
    """
    losses_BL = token_losses(targets_BL, logits_BLV, label_smoothing=label_smoothing)
    weights_BL = ops.cast(weights_BL, "float32")
    shift = vocabulary.coord_shift
    is_coordinate_BL = weights_BL * ops.cast(targets_BL >= shift, "float32")
    is_class_BL = weights_BL * ops.cast(
        (targets_BL > CLASS_SHIFT) & (targets_BL < shift), "float32"
    )
    is_noise_BL = weights_BL * ops.cast(targets_BL == NOISE_CLASS, "float32")
    guess_BL = ops.cast(ops.argmax(logits_BLV, axis=-1), targets_BL.dtype)
    correct_BL = ops.cast(guess_BL == targets_BL, "float32")
    sums = {
        "loss": _weighted_sum(losses_BL, weights_BL),
        "loss_coordinates": _weighted_sum(losses_BL, is_coordinate_BL),
        "loss_classes": _weighted_sum(losses_BL, is_class_BL),
        "loss_noise": _weighted_sum(losses_BL, is_noise_BL),
        "token_accuracy": _weighted_sum(correct_BL, is_coordinate_BL + is_class_BL),
    }
    return sums["loss"][0] / ops.maximum(total, 1e-9), sums


def means_of(sums: Sums) -> Sums:
    """For each mean of the log (its value in a batch, the weight it has among batches)."""
    means = {name: (part / ops.maximum(w, 1e-9), w) for name, (part, w) in sums.items()}
    # Every batch counts alike in the loss, as every one is a step.
    return means | {"loss": (means["loss"][0], 1.0)}


def _weighted_sum(values_BL, weights_BL):
    return ops.sum(weights_BL * values_BL), ops.sum(weights_BL)
