"""Noise objects: boxes that are not there, which fill a training sequence up.

They teach the network to tell a real object from a near-duplicate or a bad box, so that at
inference it can continue to the last token and leave the choice to the scores ("sequence
augmentation", arXiv:2109.10852). Shapes: B examples, N objects of a sequence.
"""

import tensorflow as tf

from pix2seq_model.boxes import clip_box_yxyx
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, NOISE_CLASS

# The label of the noise class token.
NOISE_LABEL = NOISE_CLASS - CLASS_SHIFT
# Uniform numbers that one object slot needs: kind of noise, source box, four edges.
DRAWS_PER_OBJECT = 7
DRAWS_PER_EXAMPLE = 1
_RANDOM_BOX_STD = 0.5  # of a random box's height and width, in image sizes


def append_noise_objects(
    boxes_BN4: tf.Tensor,
    labels_BN: tf.Tensor,
    *,
    draws_B: tf.Tensor,
    draws_BND: tf.Tensor,
    near_duplicate_std: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fills every free slot of a sequence with a noise object.

    With k free slots the number of near-duplicates of real objects is uniform in 0..k and they
    stand in random places; the others are bad boxes: a real box moved to a uniformly random
    centre or, as often, a random box. An image without objects gets random boxes alone.

    Args:
      boxes_BN4: float32 yxyx in [0, 1], the real objects first.
      labels_BN: int32 category ids, 0 in free slots.
      draws_B: float32 uniform in [0, 1): the share of near-duplicates.
      draws_BND: float32 uniform in [0, 1), (B, N, DRAWS_PER_OBJECT).
      near_duplicate_std: standard deviation by which a near-duplicate's edges move, in heights
        and widths of its box (published: 0.05).

    Returns:
      (boxes_BN4, labels_BN) with NOISE_LABEL and a box clipped to [0, 1] in what was free.
    """
    is_free_BN = tf.equal(labels_BN, 0)
    num_real_B1 = tf.reduce_sum(tf.cast(~is_free_BN, tf.float32), axis=1, keepdims=True)
    has_real_B1 = num_real_B1 > 0
    kind_BN, origin_BN, source_BN = (draws_BND[..., i] for i in range(3))
    edge_draws_BN4 = draws_BND[..., 3:7]

    # A share drawn uniformly and then slots that fall below it make the count uniform in 0..k:
    # the binomial distribution, mixed over a uniform share, is the uniform one.
    is_near_duplicate_BN = (kind_BN < draws_B[:, tf.newaxis]) & has_real_B1
    is_shifted_BN = (origin_BN < 0.5) & has_real_B1
    source_index_BN = tf.cast(source_BN * num_real_B1, tf.int32)
    source_index_BN = tf.minimum(source_index_BN, tf.maximum(tf.cast(num_real_B1, tf.int32) - 1, 0))
    source_BN4 = tf.gather(boxes_BN4, source_index_BN, batch_dims=1)
    source_size_BN2 = source_BN4[..., 2:] - source_BN4[..., :2]

    normals_BN4 = truncated_normal(edge_draws_BN4)
    moves_BN4 = near_duplicate_std * normals_BN4 * tf.tile(source_size_BN2, [1, 1, 2])
    near_duplicate_BN4 = source_BN4 + moves_BN4

    random_size_BN2 = tf.abs(normals_BN4[..., 2:]) * _RANDOM_BOX_STD
    size_BN2 = tf.where(is_shifted_BN[..., tf.newaxis], source_size_BN2, random_size_BN2)
    centre_BN2 = edge_draws_BN4[..., :2]
    bad_BN4 = tf.concat([centre_BN2 - size_BN2 / 2, centre_BN2 + size_BN2 / 2], axis=-1)

    noise_BN4 = tf.where(is_near_duplicate_BN[..., tf.newaxis], near_duplicate_BN4, bad_BN4)
    noise_BN4 = clip_box_yxyx(noise_BN4, xp=tf)
    return (
        tf.where(is_free_BN[..., tf.newaxis], noise_BN4, boxes_BN4),
        tf.where(is_free_BN, NOISE_LABEL, labels_BN),
    )


def truncated_normal(uniform: tf.Tensor) -> tf.Tensor:
    """Standard normal values cut at two deviations, from uniform ones by the inverse of the CDF."""
    low = 0.022750131948179195  # the normal distribution's CDF at -2
    return tf.math.ndtri(low + uniform * (1 - 2 * low))
