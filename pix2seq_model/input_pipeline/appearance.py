"""Augmentation that changes what an image looks like and leaves its boxes: colour, blur, cut-out.

Keras' layers for it keep generators of random numbers, by which a batch would depend on what was
read before; so TensorFlow's operations are called with numbers that are drawn without state.
"""

import tensorflow as tf

from pix2seq_model.input_pipeline.settings import PADDING_GREY, Augmentation

# Uniform random numbers that `change_appearance` takes, in this order.
_DRAWS = (
    *("brightness", "contrast", "saturation", "hue", "grey"),
    *("blur", "blur_sigma"),
    *("cutout", "cutout_height", "cutout_width", "cutout_top", "cutout_left"),
)
NUM_DRAWS = len(_DRAWS)
# A Gaussian's share beyond three standard deviations is 0.3 %.
_SIGMAS = 3
_MIN_SIGMA = 0.1


def changes_appearance(augmentation: Augmentation) -> bool:
    """Whether any of it is on."""
    return any(
        getattr(augmentation, name)
        for name in ("brightness", "contrast", "saturation", "hue", "grey", "blur", "cutout")
    )


def change_appearance(
    image: tf.Tensor, draws: tf.Tensor, *, augmentation: Augmentation
) -> tf.Tensor:
    """Jitters the colours, takes them away, blurs, and cuts out a rectangle, in this order.

    Args:
      image: (height, width, 3), uint8 or float32 in [0, 1]; without padding.
      draws: float32 uniform in [0, 1), (NUM_DRAWS,).
      augmentation: settings.

    Returns:
      An image of the same shape and type.
    """
    dtype, draw = image.dtype, dict(zip(_DRAWS, tf.unstack(draws, num=NUM_DRAWS), strict=True))
    image = tf.image.convert_image_dtype(image, tf.float32)
    image = _jitter_colors(image, draw, augmentation)
    if augmentation.grey:
        grey = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))
        image = tf.where(draw["grey"] < augmentation.grey, grey, image)
    if augmentation.blur:
        sigma = _MIN_SIGMA + (augmentation.blur_sigma - _MIN_SIGMA) * draw["blur_sigma"]
        radius = max(1, round(_SIGMAS * augmentation.blur_sigma))
        image = tf.cond(
            draw["blur"] < augmentation.blur,
            lambda: gaussian_blur(image, sigma, radius=radius),
            lambda: image,
        )
    if augmentation.cutout:
        covered = tf.where(_cutout(tf.shape(image)[:2], draw, augmentation), PADDING_GREY, image)
        image = tf.where(draw["cutout"] < augmentation.cutout, covered, image)
    return tf.image.convert_image_dtype(image, dtype, saturate=True)


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor, *, radius: int) -> tf.Tensor:
    """Blurs by a Gaussian, rows and columns one after the other; edges are continued outwards.

    Args:
      image: float32 (height, width, 3).
      sigma: float32 scalar, standard deviation in pixels.
      radius: of the kernel, pixels.
    """
    offsets = tf.range(-radius, radius + 1)
    kernel = tf.nn.softmax(-tf.square(tf.cast(offsets, tf.float32) / sigma) / 2)
    blurred = image[tf.newaxis]
    for axis, shape in ((1, (-1, 1)), (2, (1, -1))):
        size = tf.shape(blurred)[axis]
        places = tf.clip_by_value(tf.range(-radius, size + radius), 0, size - 1)
        weights = tf.tile(tf.reshape(kernel, [*shape, 1, 1]), [1, 1, 3, 1])
        blurred = tf.nn.depthwise_conv2d(
            tf.gather(blurred, places, axis=axis), weights, strides=[1] * 4, padding="VALID"
        )
    return tf.ensure_shape(blurred[0], image.shape)


def _jitter_colors(
    image: tf.Tensor, draw: dict[str, tf.Tensor], augmentation: Augmentation
) -> tf.Tensor:
    def between(name: str) -> tf.Tensor:
        """Uniform in plus or minus the setting."""
        return (2.0 * draw[name] - 1.0) * getattr(augmentation, name)

    if augmentation.brightness:
        image = tf.clip_by_value(tf.image.adjust_brightness(image, between("brightness")), 0, 1)
    if augmentation.contrast:
        image = tf.image.adjust_contrast(image, 1.0 + between("contrast"))
        image = tf.clip_by_value(image, 0, 1)
    if augmentation.saturation:
        image = tf.image.adjust_saturation(image, 1.0 + between("saturation"))
    if augmentation.hue:
        image = tf.image.adjust_hue(image, between("hue"))
    return image


def _cutout(size: tf.Tensor, draw: dict[str, tf.Tensor], augmentation: Augmentation) -> tf.Tensor:
    """Bool (height, width, 1): the rectangle that is cut out."""
    inside = []
    for length, side, start in zip(
        tf.unstack(tf.cast(size, tf.float32), num=2),
        ("cutout_height", "cutout_width"),
        ("cutout_top", "cutout_left"),
    ):
        cut = length * augmentation.cutout_size * draw[side]
        begin = (length - cut) * draw[start]
        middles = tf.range(length) + 0.5
        inside.append((middles >= begin) & (middles < begin + cut))
    return (inside[0][:, tf.newaxis] & inside[1][tf.newaxis])[..., tf.newaxis]
