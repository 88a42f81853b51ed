"""Images as the network sees them in evaluation and when served. Plain TensorFlow operations."""

from typing import Any

import tensorflow as tf

from pix2seq_model.input_pipeline.settings import PADDING_GREY


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a record's JPEG or PNG, 8-bit colour or grey, to uint8 (height, width, 3)."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def decode_file(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a file as `image_check` and `decode_image` do together, by TensorFlow alone.

    So it is for JPEG (RGB or grey; EXIF is not looked at), PNG (not 16-bit RGB that uses the lower
    bits alone), GIF without transparency, BMP of 8 or 24 bits.

    Returns:
      uint8 (height, width, 3).
    """
    is_png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
    is_bmp = tf.strings.substr(encoded, 0, 2) == b"BM"
    image = tf.case(
        [(is_png, lambda: _decode_png(encoded)), (is_bmp, lambda: _decode_bmp(encoded))],
        default=lambda: decode_image(encoded),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_png(encoded: tf.Tensor) -> tf.Tensor:
    bits, color_type = tf.unstack(_numbers(encoded, 24, 2, tf.uint8), num=2)
    return tf.cond(
        (color_type == 0) & (bits == 16),
        lambda: _scale_own_range(tf.io.decode_png(encoded, channels=1, dtype=tf.uint16)),
        lambda: _on_white(encoded, bits=tf.cast(bits, tf.int32)),
    )


def _scale_own_range(grey: tf.Tensor) -> tf.Tensor:
    values = tf.cast(grey, tf.float64)
    low, high = tf.reduce_min(values), tf.reduce_max(values)
    low = tf.where(low < high, low, 0.0)
    scaled = tf.round((values - low) * 255 / tf.where(high > low, high - low, 1.0))
    return tf.repeat(tf.cast(scaled, tf.uint8), 3, axis=2)


def _on_white(encoded: tf.Tensor, *, bits: tf.Tensor) -> tf.Tensor:
    pixels = tf.cast(tf.io.decode_png(encoded, channels=4), tf.int32)
    color, alpha = pixels[..., :3], pixels[..., 3:]
    # The alpha that TensorFlow adds to less than 8 bits a channel is not 255 but their greatest.
    most = tf.bitwise.left_shift(1, tf.minimum(bits, 8)) - 1
    alpha = tf.where(tf.reduce_all(alpha == most), 255, alpha)
    # Pillow's integers, to the bit.
    mixed = 128 * (color * alpha + 255 * (255 - alpha)) + (128 << 7)
    mixed = tf.bitwise.right_shift(tf.bitwise.right_shift(mixed, 8) + mixed, 15)
    return tf.cast(mixed, tf.uint8)


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    # TensorFlow takes the indices into a palette for grey.
    begin = 14 + _numbers(encoded, 14, 4, tf.int32)[0]

    def with_palette() -> tf.Tensor:
        end = _numbers(encoded, 10, 4, tf.int32)[0]
        colors = tf.reshape(_numbers(encoded, begin, end - begin, tf.uint8), [-1, 4])
        indices = tf.cast(decode_image(encoded)[..., 0], tf.int32)
        return tf.gather(colors[:, 2::-1], indices)

    has_palette = _numbers(encoded, 28, 2, tf.uint8)[0] == 8
    return tf.cond(has_palette, with_palette, lambda: decode_image(encoded))


def _numbers(encoded: tf.Tensor, begin: Any, length: Any, dtype: tf.DType) -> tf.Tensor:
    return tf.io.decode_raw(tf.strings.substr(encoded, begin, length), dtype)


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
        # As `preserve_aspect_ratio` has it, but a side of less than half a pixel is one.
        source = tf.cast(tf.shape(image)[:2], tf.float32)
        factor = tf.reduce_min(tf.constant(image_size, tf.float32) / source)
        size = tf.maximum(tf.cast(tf.round(factor * source), tf.int32), 1)
        image = tf.image.resize(image, size, method="bilinear", antialias=True)
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
      images_B: string (B,), files of any sizes, see `decode_file`; or uint8 (B, height, width, 3).
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
    decode = decode_file if images_B.dtype == tf.string else tf.identity
    return tf.map_fn(
        lambda image: preprocess_image(decode(image), image_size, resize=resize),
        images_B,
        fn_output_signature=signature,
    )
