"""What changes of an image when its boxes do not."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from pix2seq_model.input_pipeline.appearance import (
    NUM_DRAWS,
    change_appearance,
    changes_appearance,
    gaussian_blur,
)
from pix2seq_model.input_pipeline.settings import Augmentation
from tests.fixtures.records import smooth_image

IMAGE = smooth_image(30, 40, seed=1)[..., :3].astype(np.float32) / 255
# By the order in appearance._DRAWS.
_GREY, _BLUR, _SIGMA, _CUTOUT, _HEIGHT, _WIDTH, _TOP, _LEFT = 4, 5, 6, 7, 8, 9, 10, 11


def changed(image=IMAGE, draws=None, **settings):
    numbers = np.full(NUM_DRAWS, 0.5, np.float32)
    for index, value in (draws or {}).items():
        numbers[index] = value
    augmentation = Augmentation(**settings)
    return change_appearance(tf.constant(image), tf.constant(numbers), augmentation=augmentation)


def test_off_by_default():
    assert not changes_appearance(Augmentation())
    np.testing.assert_array_equal(changed(), IMAGE)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_the_middle_of_a_jitter_changes_nothing_and_its_ends_do(name):
    index = ["brightness", "contrast", "saturation", "hue"].index(name)
    assert changes_appearance(Augmentation(**{name: 0.2}))
    np.testing.assert_allclose(changed(**{name: 0.2}), IMAGE, atol=1e-5)
    less, more = (changed(draws={index: draw}, **{name: 0.2}).numpy() for draw in (0.0, 0.999))
    for image in (less, more):
        assert np.abs(image - IMAGE).max() > 0.02
        assert image.min() >= 0
        assert image.max() <= 1
    measure = {
        "brightness": lambda image: image.mean(),
        "contrast": lambda image: image.std(axis=(0, 1)).mean(),
        "saturation": lambda image: (image.max(axis=-1) - image.min(axis=-1)).mean(),
    }.get(name)
    if measure:
        assert measure(less) < measure(IMAGE) < measure(more)


def test_brightness_is_added():
    image = np.full((4, 5, 3), 0.5, np.float32)
    np.testing.assert_allclose(changed(image, {0: 0.75}, brightness=0.4), 0.7, atol=1e-6)
    np.testing.assert_allclose(changed(image, {0: 0.0}, brightness=1.0), 0.0, atol=1e-6)


def test_a_share_of_the_images_is_grey():
    image = changed(draws={_GREY: 0.19}, grey=0.2).numpy()
    assert np.ptp(image, axis=-1).max() == 0
    np.testing.assert_allclose(image[..., 0], IMAGE @ [0.2989, 0.587, 0.114], atol=1e-3)
    np.testing.assert_array_equal(changed(draws={_GREY: 0.2}, grey=0.2), IMAGE)


def test_the_blur_is_a_gaussian_with_edges_continued():
    blurred = gaussian_blur(tf.constant(IMAGE), tf.constant(1.3), radius=5).numpy()
    expected = gaussian_filter(IMAGE, (1.3, 1.3, 0), mode="nearest", radius=(5, 5, 0))
    np.testing.assert_allclose(blurred, expected, atol=1e-5)
    assert changed(IMAGE[:1, :1], {_BLUR: 0.0}, blur=0.5).shape == (1, 1, 3)
    np.testing.assert_array_equal(changed(draws={_BLUR: 0.6}, blur=0.5), IMAGE)


def test_a_rectangle_is_cut_out():
    draws = {_CUTOUT: 0.0, _HEIGHT: 0.999, _WIDTH: 0.5, _TOP: 0.0, _LEFT: 0.9999}
    image = changed(draws=draws, cutout=0.5, cutout_size=0.5).numpy()
    is_cut = np.isclose(image, 0.3).all(axis=-1)
    assert is_cut[:15, 30:].all()
    np.testing.assert_array_equal(image[15:], IMAGE[15:])
    np.testing.assert_array_equal(image[:, :30], IMAGE[:, :30])
    np.testing.assert_array_equal(changed(draws=draws | {_CUTOUT: 0.5}, cutout=0.5), IMAGE)


def test_bytes_stay_bytes():
    image = (IMAGE * 255).astype(np.uint8)
    result = changed(image, {0: 0.999}, brightness=1.0)
    assert result.dtype == tf.uint8
    assert result.numpy().min() >= 254
    np.testing.assert_array_equal(changed(image, brightness=0.5), image)
