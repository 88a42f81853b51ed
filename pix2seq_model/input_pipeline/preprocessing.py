"""Images as the network sees them in evaluation and when served. Plain TensorFlow operations."""

import tensorflow as tf

from pix2seq_model.input_pipeline.augmentation import PADDING_GREY


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG, colour or grey, to uint8 (height, width, 3)."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def image_key(pixels: tf.Tensor) -> tf.Tensor:
    """A number that follows from the pixels (uint8) alone, int64 scalar; see `draw_uniform`.

    It is of the image as decoded: what comes after may differ in the last bit between machines.
    """
    digest = tf.raw_ops.Fingerprint(data=tf.reshape(pixels, [1, -1]), method="farmhash64")
    return tf.bitcast(digest, tf.int64)[0]


def preprocess_for_evaluation(
    image: tf.Tensor, image_size: tuple[int, int], *, resize: str = "antialias"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes an image to fit the target, aspect kept, and pads it at the bottom and right.

    Args:
      image: uint8 (height, width, 3), or float in [0, 1].
      image_size: target height and width in pixels.
      resize: one of `settings.RESIZES`.

    Returns:
      (image float32 (*image_size, 3) in [0, 1]; content_size int32 (2,), the height and width in
      pixels that the resized image takes in it).
    """
    image = tf.image.convert_image_dtype(image, tf.float32)
    if resize == "plain":
        source = tf.cast(tf.shape(image)[:2], tf.int64)
        fits = source[:, tf.newaxis] * tf.constant(image_size, tf.int64) // source
        size = tf.cast(tf.maximum(tf.reduce_min(fits, axis=1), 1), tf.int32)
        image = tf.image.resize(image, size, method="bilinear")
    else:
        image = tf.image.resize(
            image, image_size, method="bilinear", preserve_aspect_ratio=True, antialias=True
        )
    content_size = tf.shape(image)[:2]
    missing = tf.constant(image_size) - content_size
    paddings = tf.stack([[0, missing[0]], [0, missing[1]], [0, 0]])
    image = tf.pad(image, paddings, constant_values=PADDING_GREY)
    return tf.ensure_shape(image, [*image_size, 3]), content_size


def preprocess_image(
    image: tf.Tensor, image_size: tuple[int, int], *, resize: str = "antialias"
) -> dict[str, tf.Tensor]:
    """As `preprocess_images`, for one image."""
    if image.dtype == tf.string:
        image = decode_image(image)
    padded, content_size = preprocess_for_evaluation(image, image_size, resize=resize)
    return {
        "image": padded,
        "source_size": tf.shape(image)[:2],
        "content_size": content_size,
        "image_key": image_key(image),
    }


def preprocess_images(
    images_B: tf.Tensor, image_size: tuple[int, int], *, resize: str = "antialias"
) -> dict[str, tf.Tensor]:
    """Prepares a batch of images, as for the served model.

    Args:
      images_B: string (B,), JPEG or PNG files of any sizes; or uint8 (B, height, width, 3).
      image_size: target height and width in pixels.
      resize: one of `settings.RESIZES`.

    Returns:
      `image` float32 (B, *image_size, 3) in [0, 1]; `source_size` int32 (B, 2), height and width
      of the originals in pixels; `content_size` int32 (B, 2), see `preprocess_for_evaluation`;
      `image_key` int64 (B,), see there.
    """
    signature = {
        "image": tf.TensorSpec([*image_size, 3], tf.float32),
        "source_size": tf.TensorSpec([2], tf.int32),
        "content_size": tf.TensorSpec([2], tf.int32),
        "image_key": tf.TensorSpec([], tf.int64),
    }
    return tf.map_fn(
        lambda image: preprocess_image(image, image_size, resize=resize),
        images_B,
        fn_output_signature=signature,
    )
