"""Class-balanced sampling: images with rare classes are shown more often.

The repeat factors are those of LVIS (Gupta et al., arXiv:1908.03195, appendix B; from Mahajan et
al., arXiv:1805.00932): with f(c) the share of the images that have class c, and a threshold t,

    r(c) = max(1, sqrt(t / f(c)))        r(image) = max of r(c) over its classes, at least 1

There an image is repeated r(image) times in a pass, which makes the pass longer. Here the number of
records of every part of the stream is fixed, so that it can be entered anywhere and shared by any
number of hosts: of the n images of a shuffle window, n are shown, each in proportion to its factor.
Their frequencies relative to each other are LVIS', up to how the windows differ; some images of
common classes are left out of a pass, others in the next.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pix2seq_model.data.manifest import read_statistics
from pix2seq_model.data.records import class_labels
from pix2seq_model.errors import DataError

# Apart from the seeds that windows are shuffled by.
_SEED_OF_CHOICE = 1 << 61


def class_repeat_factors(
    images_with_class: Mapping[Any, int], *, num_images: int, threshold: float
) -> dict[int, float]:
    """r(c) of the classes for which it is more than 1.

    Args:
      images_with_class: number of images by class, as the statistics of a conversion have them.
      num_images: of all.
      threshold: t, a share of the images.
    """
    factors = {
        int(label): math.sqrt(threshold * num_images / images)
        for label, images in images_with_class.items()
        if images
    }
    return {label: factor for label, factor in sorted(factors.items()) if factor > 1}


def split_repeat_factors(
    examples_dir: str | os.PathLike[str], split: str, *, num_images: int, threshold: float
) -> dict[int, float]:
    """`class_repeat_factors` of a split of an examples folder.

    Raises:
      DataError: the images of its classes were not counted.
    """
    counted = read_statistics(examples_dir).get(split, {}).get("images_with_class")
    if counted is None:
        raise DataError(
            f"{examples_dir}: repeat_threshold={threshold} needs the number of images of each "
            f"class, which nobody counted in split {split!r}: convert the data set again."
        )
    return class_repeat_factors(counted, num_images=num_images, threshold=threshold)


def choose_records(
    records: tf.Tensor, factors: Mapping[int, float], *, seed: int, window: tf.Tensor
) -> tf.Tensor:
    """As many of some records as there are, each in proportion to its repeat factor.

    By systematic sampling: a record whose fair number is x comes floor(x) or ceil(x) times.

    Args:
      records: (n,) serialized examples.
      factors: r(c) where it is more than 1.
      seed: int64 of at least 0.
      window: int64 scalar, number of these records among all that are chosen from.

    Returns:
      int32 (n,) indices of records, ascending.
    """
    number = tf.size(records)
    weights = tf.cast(image_repeat_factors(records, factors), tf.float64)
    ends = tf.cumsum(weights)
    start = tf.random.stateless_uniform(
        [], seed=tf.stack([tf.constant(seed ^ _SEED_OF_CHOICE, tf.int64), window])
    )
    share = ends[-1] / tf.cast(number, tf.float64)
    points = (tf.cast(tf.range(number), tf.float64) + tf.cast(start, tf.float64)) * share
    return tf.minimum(tf.searchsorted(ends, points, side="right"), number - 1)


def image_repeat_factors(records: tf.Tensor, factors: Mapping[int, float]) -> tf.Tensor:
    """r(image) of serialized examples (n,): float32 (n,)."""
    labels, rows = class_labels(records)
    known = tf.constant(sorted(factors), tf.int64)
    values = tf.constant([factors[label] for label in sorted(factors)], tf.float32)
    place = tf.minimum(tf.searchsorted(known, labels), len(factors) - 1)
    of_labels = tf.where(tf.gather(known, place) == labels, tf.gather(values, place), 1.0)
    of_images = tf.math.unsorted_segment_max(of_labels, rows, tf.size(records))
    return tf.maximum(of_images, 1.0)
