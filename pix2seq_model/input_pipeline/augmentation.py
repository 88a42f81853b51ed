"""Training augmentation: scale jitter, one random crop, horizontal flip, padding.

The published order is resize the whole image, crop, flip. Here the crop is chosen first, from the
image's size alone, so that only its pixels are decoded and resized. Of a "diagonal" crop, whose
edges lie on whole pixels of the resized image, a few more are decoded and resized from where the
crop begins: the result is the published one. One that lies "anywhere" has its edges on whole pixels
of the source, which moves it by up to half of one.
"""

from typing import NamedTuple

import tensorflow as tf

from pix2seq_model.boxes import clip_box_yxyx, flip_box_yxyx_left_right, move_box_yxyx_to_window
from pix2seq_model.input_pipeline.settings import PADDING_GREY, Augmentation

# Uniform random numbers that `choose_window` takes: scale, two offsets, flip.
NUM_DRAWS = 4
# Pixels decoded around a crop whose edges lie between them: the one that the edge is blended with,
# and one more, as the colours of a JPEG's outermost decoded pixels are not those of the whole.
_MARGIN = 2.0


class Window(NamedTuple):
    """The part of a source image that is seen, and how.

    Attributes:
      offset: int32 (..., 2), top and left edge in the source of what is decoded, pixels.
      size: int32 (..., 2), its height and width, pixels.
      seen_offset, seen_size: float32 (..., 2), the same of what is seen, which lies within.
      content_size: int32 (..., 2), height and width that it is resized to, pixels.
      flip: bool (...), mirrored left to right.
    """

    offset: tf.Tensor
    size: tf.Tensor
    seen_offset: tf.Tensor
    seen_size: tf.Tensor
    content_size: tf.Tensor
    flip: tf.Tensor


def choose_window(
    source_size: tf.Tensor,
    draws: tf.Tensor,
    *,
    image_size: tuple[int, int] | tf.Tensor,
    augmentation: Augmentation,
) -> Window:
    """Chooses scale, crop and flip of one image.

    Args:
      source_size: int (2,), height and width in pixels.
      draws: float32 uniform in [0, 1), (NUM_DRAWS,).
      image_size: target height and width in pixels.
      augmentation: settings.
    """
    source_size = tf.cast(source_size, tf.float32)
    target_size = tf.cast(image_size, tf.float32)
    scale_range = augmentation.scale_max - augmentation.scale_min
    scale = augmentation.scale_min + scale_range * draws[0]
    if augmentation.crop == "diagonal":
        # In the published order: rounding decides a pixel here and there.
        pixel_scale = tf.reduce_min(scale * target_size / source_size)
        scaled_size = tf.maximum(tf.floor(source_size * pixel_scale), 1.0)
        content_size = tf.minimum(scaled_size, target_size)
        stretch = scaled_size / source_size
        seen_offset = tf.floor(draws[1] * (scaled_size - content_size)) / stretch
        seen_size = content_size / stretch
        offset = tf.maximum(tf.floor(seen_offset) - _MARGIN, 0.0)
        end = tf.minimum(tf.math.ceil(seen_offset + seen_size) + _MARGIN, source_size)
        size = end - offset
    else:
        pixel_scale = tf.reduce_min(target_size / source_size) * scale
        scaled_size = tf.maximum(tf.round(source_size * pixel_scale), 1.0)
        content_size = tf.minimum(scaled_size, target_size)
        size = tf.maximum(tf.round(content_size / scaled_size * source_size), 1.0)
        free = source_size - size
        offset = tf.minimum(tf.floor(draws[1:3] * (free + 1.0)), free)
        seen_offset, seen_size = offset, size
    return Window(
        offset=tf.cast(offset, tf.int32),
        size=tf.cast(size, tf.int32),
        seen_offset=seen_offset,
        seen_size=seen_size,
        content_size=tf.cast(content_size, tf.int32),
        flip=(draws[3] < 0.5) if augmentation.flip else tf.constant(False),
    )


def decode_window(encoded: tf.Tensor, window: Window, *, is_jpeg: tf.Tensor) -> tf.Tensor:
    """Decodes the pixels of a window; of a JPEG only those, of a PNG the whole and then crops.

    Args:
      encoded: scalar string, a JPEG or PNG, colour or grey.
      window: which part.
      is_jpeg: scalar bool.

    Returns:
      uint8 (height, width, 3) of window.size.
    """

    area = tf.concat([window.offset, window.size], 0)
    begin, size = tf.concat([window.offset, [0]], 0), tf.concat([window.size, [3]], 0)
    return tf.cond(
        is_jpeg,
        lambda: tf.io.decode_and_crop_jpeg(encoded, area, channels=3),
        lambda: tf.slice(tf.io.decode_png(encoded, channels=3), begin, size),
    )


def resize_window(
    pixels: tf.Tensor,
    window: Window,
    *,
    augmentation: Augmentation,
    dtype: tf.DType = tf.float32,
) -> tf.Tensor:
    """Resizes (bilinear, no antialias) and flips what is seen of the pixels of a window.

    Args:
      pixels: uint8 (height, width, 3) of window.size.
      window: how.
      augmentation: that the window was chosen by.
      dtype: of the result, float32 or uint8.

    Returns:
      (*window.content_size, 3), float32 in [0, 1], or those times 255 rounded to uint8.
    """
    # Mirroring bytes, of what is mostly the smaller image, is cheaper than mirroring the result;
    # and an empty list of axes, which leaves the image as it is, cheaper than a branch.
    flip_axes = tf.ones([tf.cast(window.flip, tf.int32)], tf.int32)
    pixels = tf.reverse(pixels, flip_axes)
    if augmentation.crop == "anywhere":
        # As floats: of bytes, the kernel turns four into floats for each number of the result.
        pixels = tf.cast(pixels, tf.float32)
        resized = tf.image.resize(pixels, window.content_size, method="bilinear")
    else:
        resized = _resize_part(pixels, window)
    if dtype == tf.uint8:
        return tf.cast(tf.round(resized), tf.uint8)
    return resized / 255.0


def _resize_part(pixels: tf.Tensor, window: Window) -> tf.Tensor:
    """What is seen of the pixels of a window, whose edges may lie between pixels; 0 to 255.

    `CropAndResize` takes any edges, as `ScaleAndTranslate` does, in two thirds of its time. It asks
    where the centres of the first and the last pixel of the result lie.
    """
    before = window.seen_offset - tf.cast(window.offset, tf.float32)
    after = tf.cast(window.size, tf.float32) - before - window.seen_size
    before = tf.where(tf.logical_and([False, True], window.flip), after, before)
    content_size = tf.cast(window.content_size, tf.float32)
    step = window.seen_size / content_size
    # Outside of the image lies its outermost pixel, of which results at the edge are blended.
    pixels = tf.concat([pixels[:1], pixels, pixels[-1:]], 0)  # Copies rows: faster than `pad`.
    pixels = tf.concat([pixels[:, :1], pixels, pixels[:, -1:]], 1)
    first = 1.0 + before + 0.5 * step - 0.5
    last = first + (content_size - 1.0) * step
    places = tf.concat([first, last], 0) / tf.tile(tf.cast(window.size + 1, tf.float32), [2])
    return tf.raw_ops.CropAndResize(
        image=tf.cast(pixels, tf.float32)[tf.newaxis],
        boxes=places[tf.newaxis],
        box_ind=[0],
        crop_size=window.content_size,
    )[0]


def padding_grey(dtype: tf.DType) -> tf.Tensor:
    """The padding of images; scalar. The nearest levels of uint8 are as far from it: the upper."""
    grey = tf.constant(PADDING_GREY)
    return tf.cast(tf.floor(grey * 255 + 0.5), tf.uint8) if dtype == tf.uint8 else grey


def boxes_in_window(
    boxes_BM4: tf.Tensor, window_B: Window, *, source_size_B2: tf.Tensor
) -> tf.Tensor:
    """Moves boxes along with the crop and the flip.

    Args:
      boxes_BM4: float32 yxyx, normalised to the source image.
      window_B: windows with one leading axis.
      source_size_B2: int height and width of the source images in pixels.

    Returns:
      float32 (B, M, 4) yxyx, normalised to the window and clipped to it; of zero size where an
      object lies outside.
    """
    source_size_B2 = tf.cast(source_size_B2, tf.float32)
    boxes_BM4 = move_box_yxyx_to_window(
        boxes_BM4,
        offset=(window_B.seen_offset / source_size_B2)[:, tf.newaxis],
        size=(window_B.seen_size / source_size_B2)[:, tf.newaxis],
        xp=tf,
    )
    boxes_BM4 = clip_box_yxyx(boxes_BM4, xp=tf)
    flipped_BM4 = flip_box_yxyx_left_right(boxes_BM4, xp=tf)
    return tf.where(window_B.flip[:, tf.newaxis, tf.newaxis], flipped_BM4, boxes_BM4)
