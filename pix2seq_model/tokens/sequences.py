"""Objects to training sequences: input tokens, target tokens and weights.

An object is five tokens, (ymin, xmin, ymax, xmax, class). The input is the prompt and then the
objects, the target the objects alone: the same sequence shifted by one. Method and numbers:
arXiv:2109.10852 and its published training configuration.
Shapes: B examples, N objects of a sequence, L = 5 N tokens.
"""

import tensorflow as tf

from pix2seq_model.boxes import scale_box_yxyx
from pix2seq_model.tokens.noise_objects import (
    DRAWS_PER_EXAMPLE,
    DRAWS_PER_OBJECT,
    NOISE_LABEL,
    append_noise_objects,
)
from pix2seq_model.tokens.settings import SequenceSettings
from pix2seq_model.tokens.vocabulary import (
    CLASS_SHIFT,
    DETECTION_PROMPT,
    NOISE_CLASS,
    PADDING,
    TOKENS_PER_OBJECT,
    Vocabulary,
)

_CORRUPTION_DRAWS = 3


def num_draws(settings: SequenceSettings) -> int:
    """Uniform random numbers that `training_sequences` takes for one example."""
    return DRAWS_PER_EXAMPLE + settings.max_objects * (DRAWS_PER_OBJECT + _CORRUPTION_DRAWS)


def training_sequences(
    boxes_BN4: tf.Tensor,
    labels_BN: tf.Tensor,
    *,
    content_fraction_B2: tf.Tensor,
    draws_BD: tf.Tensor,
    vocabulary: Vocabulary,
    settings: SequenceSettings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Adds noise objects and builds the sequences, all random choices read from `draws_BD`.

    Args:
      boxes_BN4: float32 yxyx, normalised to the image's content, N = settings.max_objects.
      labels_BN: int32 category ids, the objects first, then 0.
      content_fraction_B2: float32, height and width of the content in the padded image, in (0, 1].
      draws_BD: float32 uniform in [0, 1), D = num_draws(settings).
      vocabulary: tokens.
      settings: which noise, corruption and weights.

    Returns:
      As `build_sequences`.
    """
    num_objects = settings.max_objects
    draws_B1, noise_draws_BD, corruption_draws_BD = tf.split(
        draws_BD,
        [DRAWS_PER_EXAMPLE, num_objects * DRAWS_PER_OBJECT, num_objects * _CORRUPTION_DRAWS],
        axis=1,
    )
    if settings.noise_objects:
        # Noise is made, and clipped, before the image is padded: none is in the padding.
        boxes_BN4, labels_BN = append_noise_objects(
            boxes_BN4,
            labels_BN,
            draws_B=draws_B1[:, 0],
            draws_BND=tf.reshape(noise_draws_BD, [-1, num_objects, DRAWS_PER_OBJECT]),
            near_duplicate_std=settings.near_duplicate_std,
        )
    boxes_BN4 = scale_box_yxyx(boxes_BN4, content_fraction_B2[:, tf.newaxis], xp=tf)
    input_class_BN = corrupt_classes(
        labels_BN,
        draws_BN3=tf.reshape(corruption_draws_BD, [-1, num_objects, _CORRUPTION_DRAWS]),
        corruption=settings.class_corruption,
        vocabulary=vocabulary,
    )
    return build_sequences(
        boxes_BN4,
        labels_BN,
        input_class_BN=input_class_BN,
        vocabulary=vocabulary,
        padding_weight=settings.padding_weight,
    )


def build_sequences(
    boxes_BN4: tf.Tensor,
    labels_BN: tf.Tensor,
    *,
    vocabulary: Vocabulary,
    input_class_BN: tf.Tensor | None = None,
    padding_weight: float = 0.1,
    noise_class_weight: float = 1.0,
    length: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Serialises objects.

    Weights: 1 for every token of a real object; 0 for a noise object's coordinates and
    `noise_class_weight` for its class; `padding_weight` for padding.

    Args:
      boxes_BN4: float yxyx in [0, 1].
      labels_BN: integer category ids; 0 is padding, NOISE_LABEL a noise object.
      vocabulary: tokens.
      input_class_BN: class tokens of the input where they differ from the target's.
      padding_weight: see above.
      noise_class_weight: see above.
      length: L, at least 5 N, the rest being padding; by default 5 N.

    Returns:
      (input_BL int32, target_BL int32, weights_BL float32).
    """
    labels_BN = tf.cast(labels_BN, tf.int32)
    is_padding_BN1 = tf.equal(labels_BN, 0)[..., tf.newaxis]
    is_noise_BN = tf.equal(labels_BN, NOISE_LABEL)
    coordinates_BN4 = vocabulary.quantize(tf.cast(boxes_BN4, tf.float32), xp=tf)
    target_class_BN = vocabulary.class_token(labels_BN)
    if input_class_BN is None:
        input_class_BN = target_class_BN

    def serialise(class_BN: tf.Tensor) -> tf.Tensor:
        tokens_BN5 = tf.concat([coordinates_BN4, class_BN[..., tf.newaxis]], axis=-1)
        return _flatten_objects(tf.where(is_padding_BN1, PADDING, tokens_BN5), length, PADDING)

    target_BL = serialise(target_class_BN)
    objects_BL = serialise(input_class_BN)
    prompt_B1 = tf.fill([tf.shape(labels_BN)[0], 1], DETECTION_PROMPT)
    input_BL = tf.concat([prompt_B1, objects_BL[:, :-1]], axis=1)

    coordinate_weight_BN = tf.where(is_noise_BN, 0.0, 1.0)
    class_weight_BN = tf.where(is_noise_BN, noise_class_weight, 1.0)
    weights_BN5 = tf.stack([coordinate_weight_BN] * 4 + [class_weight_BN], axis=-1)
    weights_BN5 = tf.where(is_padding_BN1, padding_weight, weights_BN5)
    return input_BL, target_BL, _flatten_objects(weights_BN5, length, padding_weight)


def corrupt_classes(
    labels_BN: tf.Tensor, *, draws_BN3: tf.Tensor, corruption: str, vocabulary: Vocabulary
) -> tf.Tensor:
    """Class tokens for the input, which must not tell the network what to predict.

    Args:
      labels_BN: int32 category ids or NOISE_LABEL.
      draws_BN3: float32 uniform in [0, 1).
      corruption: one of settings.CLASS_CORRUPTIONS.
      vocabulary: random classes are drawn from all ids below its coordinates.

    Returns:
      int32 tokens (B, N).
    """
    true_BN = vocabulary.class_token(labels_BN)
    num_classes = vocabulary.coord_shift - CLASS_SHIFT
    random_BN = CLASS_SHIFT + tf.minimum(
        tf.cast(draws_BN3[..., 0] * num_classes, tf.int32), num_classes - 1
    )
    is_noise_BN, is_true_BN = draws_BN3[..., 1] < 0.5, draws_BN3[..., 2] < 0.5
    random_or_noise_BN = tf.where(is_noise_BN, NOISE_CLASS, random_BN)
    return {
        "none": true_BN,
        "rand_cls": random_BN,
        "real_n_fake_cls": tf.where(is_noise_BN, NOISE_CLASS, true_BN),
        "rand_n_fake_cls": random_or_noise_BN,
        "real_n_rand_n_fake_cls": tf.where(is_true_BN, true_BN, random_or_noise_BN),
    }[corruption]


def _flatten_objects(values_BN5: tf.Tensor, length: int | None, padding: float) -> tf.Tensor:
    num_tokens = TOKENS_PER_OBJECT * values_BN5.shape[1]
    values_BL = tf.reshape(values_BN5, [-1, num_tokens])
    if length is None:
        return values_BL
    return tf.pad(values_BL, [[0, 0], [0, length - num_tokens]], constant_values=padding)
