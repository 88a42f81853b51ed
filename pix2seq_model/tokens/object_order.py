"""The order in which an image's objects stand in its sequence.

The paper's ablation (arXiv:2109.10852, "Ordering of object sequence") compares these orders;
random is the published default. Shapes: B examples, M objects of an example (padded), N kept.
"""

import tensorflow as tf

from pix2seq_model.boxes import box_yxyx_area

# Each order is a tuple of sort keys, the most important first.
_SORT_KEYS: dict[str, tuple[str, ...]] = {
    "random": ("random",),
    "area": ("area",),
    "distance": ("distance",),
    "class": ("class", "random"),
    "class_area": ("class", "area"),
    "class_distance": ("class", "distance"),
    "stored": (),
}


def order_objects(
    boxes_BM4: tf.Tensor,
    labels_BM: tf.Tensor,
    *,
    is_kept_BM: tf.Tensor,
    random_BM: tf.Tensor,
    order: str,
    max_objects: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Drops objects, puts the others in order and keeps the first `max_objects`.

    Objects that compare equal keep their stored order. With order "random", what is kept of an
    image with too many objects is a random subset.

    Args:
      boxes_BM4: float32, yxyx.
      labels_BM: int32 category ids.
      is_kept_BM: bool, false for objects to drop and for the padding of the batch.
      random_BM: float32 uniform in [0, 1), used by the orders "random" and "class".
      order: one of settings.ORDERS: random; area (largest first); distance (of the top
        left corner to the origin, nearest first); class (ascending id, random within a class);
        class_area; class_distance; stored (as in the record).
      max_objects: N.

    Returns:
      (boxes_BN4, labels_BN): the objects first, then rows of box 0 and label 0.
    """
    keys_BM = {
        "random": random_BM,
        "area": -box_yxyx_area(boxes_BM4),  # large objects first
        "distance": boxes_BM4[..., 0] ** 2 + boxes_BM4[..., 1] ** 2,  # of the top left corner
        "class": tf.cast(labels_BM, tf.float32),
    }
    # Sorting by the least important key first, each sort being stable, sorts by all of them.
    rank_BM = tf.broadcast_to(tf.range(tf.shape(labels_BM)[1]), tf.shape(labels_BM))
    for key in reversed(_SORT_KEYS[order]):
        key_BM = tf.gather(keys_BM[key], rank_BM, batch_dims=1)
        rank_BM = tf.gather(rank_BM, tf.argsort(key_BM, stable=True), batch_dims=1)
    dropped_last_BM = tf.cast(~tf.gather(is_kept_BM, rank_BM, batch_dims=1), tf.int32)
    rank_BM = tf.gather(rank_BM, tf.argsort(dropped_last_BM, stable=True), batch_dims=1)

    rank_BM = rank_BM[:, :max_objects]
    is_kept_BM = tf.gather(is_kept_BM, rank_BM, batch_dims=1)
    boxes_BM4 = tf.gather(boxes_BM4, rank_BM, batch_dims=1)
    boxes_BM4 = tf.where(is_kept_BM[..., tf.newaxis], boxes_BM4, 0.0)
    labels_BM = tf.where(is_kept_BM, tf.gather(labels_BM, rank_BM, batch_dims=1), 0)
    missing = max_objects - tf.shape(rank_BM)[1]
    boxes_BN4 = tf.pad(boxes_BM4, [[0, 0], [0, missing], [0, 0]])
    labels_BN = tf.pad(labels_BM, [[0, 0], [0, missing]])
    return (
        tf.ensure_shape(boxes_BN4, [None, max_objects, 4]),
        tf.ensure_shape(labels_BN, [None, max_objects]),
    )
