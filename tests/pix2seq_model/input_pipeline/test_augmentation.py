import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from pix2seq_model.input_pipeline.augmentation import (
    Window,
    boxes_in_window,
    choose_window,
    decode_window,
    resize_window,
)
from pix2seq_model.input_pipeline.settings import Augmentation
from tests.fixtures import reference
from tests.fixtures.records import encode_image, smooth_image
from tests.fixtures.shared_material import SHARED, needs_shared


def window(offset, size, content_size=None, *, flip=False):
    return Window(
        offset=tf.constant(offset),
        size=tf.constant(size),
        seen_offset=tf.constant(offset, tf.float32),
        seen_size=tf.constant(size, tf.float32),
        content_size=tf.constant(size if content_size is None else content_size),
        flip=tf.constant(flip),
    )


def chosen(source_size, draws, image_size, **augmentation):
    result = choose_window(
        tf.constant(source_size),
        tf.constant(draws, tf.float32),
        image_size=image_size,
        augmentation=Augmentation(**augmentation),
    )
    seen = (result.offset, result.size, result.content_size, result.flip)
    return [part.numpy().tolist() for part in seen]


def test_scale_one_shows_the_whole_image_as_large_as_it_fits():
    no_jitter = {"scale_min": 1.0, "scale_max": 1.0}
    draws = [0.7, 0.7, 0.7, 0.7]
    assert chosen([480, 640], draws, (640, 640), **no_jitter) == [
        [0, 0],
        [480, 640],
        [480, 640],
        False,
    ]
    assert chosen([480, 640], draws, (320, 640), **no_jitter)[2] == [320, 427]


def test_scale_two_shows_a_crop():
    # 100 x 200 is doubled to 100 x 200 in a target of 100 x 100: half of the width is seen.
    offset, size, content_size, flip = chosen(
        [100, 200], [0.5, 0.5, 0.25, 0.49], (100, 100), scale_min=2.0, scale_max=2.0
    )
    assert (offset, size, content_size, flip) == ([0, 25], [100, 100], [100, 100], True)


def test_flip_can_be_switched_off():
    assert chosen([10, 10], [0, 0, 0, 0.0], (8, 8), flip=False)[3] is False


unit = st.floats(0, 1, width=32, exclude_max=True)


@settings(deadline=None, max_examples=80)
@given(
    source_size=st.tuples(st.integers(1, 1500), st.integers(1, 1500)),
    image_size=st.tuples(st.integers(8, 700), st.integers(8, 700)),
    draws=st.tuples(*[unit] * 4),
    scales=st.tuples(st.floats(0.1, 3.0), st.floats(0.1, 3.0)).map(sorted),
    crop=st.sampled_from(["anywhere", "diagonal"]),
)
def test_any_window_lies_in_its_image(source_size, image_size, draws, scales, crop):
    offset, size, content_size, _ = map(
        np.array,
        chosen(source_size, draws, image_size, scale_min=scales[0], scale_max=scales[1], crop=crop),
    )
    assert (offset >= 0).all()
    assert (size >= 1).all()
    assert (offset + size <= source_size).all()
    assert (content_size >= 1).all()
    assert (content_size <= image_size).all()
    # The aspect is kept, as far as whole pixels let it be.
    assume(crop == "anywhere" and (content_size > 20).all() and (size > 20).all())
    stretch = content_size / size
    assert 0.94 < stretch[0] / stretch[1] < 1.06


def test_scales_are_uniform_and_offsets_reach_both_ends():
    @tf.function
    def choose(draws):
        return choose_window(
            tf.constant([100, 100]), draws, image_size=(1000, 1000), augmentation=Augmentation()
        )

    number = 1000
    windows = [choose(draws) for draws in tf.random.stateless_uniform([number, 4], seed=[1, 2])]
    offset, size, _, _, content_size, flip = (np.array(part) for part in zip(*windows))
    # Below 1 the content is as large as the scale says: 0.3 .. 1 is 7/17 of 0.3 .. 2.
    is_smaller = content_size[:, 0] < 1000
    np.testing.assert_allclose(is_smaller.mean(), 7 / 17, atol=0.05)
    smaller = content_size[is_smaller, 0]
    np.testing.assert_allclose([smaller.min(), np.median(smaller)], [300, 650], atol=30)
    assert not offset[is_smaller].any()
    # At scale s a share of 1 / s is seen, and the rest is left out at either side.
    assert size[~is_smaller].min() <= 51
    share = offset[~is_smaller] / np.maximum(100 - size[~is_smaller], 1)
    np.testing.assert_allclose(share[size[~is_smaller][:, 0] < 80].mean(0), 0.5, atol=0.05)
    assert share.min() == 0
    assert share.max() == 1
    np.testing.assert_allclose(flip.mean(), 0.5, atol=0.05)


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_and_boxes_move_together(flip):
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20:40, 30:70] = 255
    seen = window([10, 25], [40, 50], [80, 100], flip=flip)
    image = resize_window(
        decode_window(tf.constant(encode_image(pixels, "png")), seen, is_jpeg=tf.constant(False)),
        seen,
        augmentation=Augmentation(),
    )
    boxes = boxes_in_window(
        tf.constant([[[20 / 60, 30 / 80, 40 / 60, 70 / 80]]], tf.float32),
        Window(*(part[tf.newaxis] for part in seen)),
        source_size_B2=tf.constant([[60, 80]]),
    )
    bright = image.numpy()[..., 0] > 0.5
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    measured = [rows[0] / 80, columns[0] / 100, (rows[-1] + 1) / 80, (columns[-1] + 1) / 100]
    np.testing.assert_allclose(boxes[0, 0], measured, atol=1e-6)


def test_boxes_outside_the_window_have_no_size():
    boxes = boxes_in_window(
        tf.constant([[[0.0, 0.0, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0]]]),
        Window(*(part[tf.newaxis] for part in window([50, 50], [50, 50]))),
        source_size_B2=tf.constant([[100, 100]]),
    )
    assert boxes.numpy().tolist() == [[[0, 0, 0, 0], [0, 0, 1, 1]]]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_a_decoded_window_is_a_crop_of_the_decoded_image(mode, image_format):
    pixels = smooth_image(97, 131)
    encoded = tf.constant(encode_image(pixels if mode == "RGB" else pixels[..., 0], image_format))
    whole = tf.io.decode_image(encoded, channels=3).numpy()
    is_jpeg = tf.constant(image_format == "jpeg")
    for offset, size in (([0, 0], [97, 131]), ([13, 29], [41, 67]), ([96, 130], [1, 1])):
        crop = decode_window(encoded, window(offset, size), is_jpeg=is_jpeg).numpy()
        (top, left), (height, width) = offset, size
        error = np.abs(whole[top : top + height, left : left + width].astype(int) - crop)
        assert not error[1:-1, 1:-1].any()
        assert error.max() <= 4  # chroma, interpolated differently in the outermost pixels


def resized_and_cropped(whole, seen):
    """The published way: resize the whole image, then crop; to the nearest whole pixel."""
    stretch = seen.content_size.numpy() / seen.seen_size.numpy()
    scaled = np.round(np.array(whole.shape[:2]) * stretch).astype(int)
    top, left = np.round(seen.seen_offset.numpy() * scaled / whole.shape[:2]).astype(int)
    resized = tf.image.resize(whole, scaled, method="bilinear") / 255.0
    height, width = seen.content_size.numpy()
    return resized[top : top + height, left : left + width]


@needs_shared
def test_cropping_first_equals_resizing_first_on_photographs():
    errors = []
    for index, path in enumerate(sorted((SHARED / "coco_sample/images/val2017").iterdir())):
        encoded = tf.io.read_file(str(path))
        whole = tf.io.decode_jpeg(encoded, channels=3)
        seen = choose_window(
            tf.shape(whole)[:2],
            tf.constant([0.15 * (index + 1), 0.4, 0.6, 0.9]),
            image_size=(320, 320),
            augmentation=Augmentation(),
        )
        pixels = decode_window(encoded, seen, is_jpeg=tf.constant(True))
        image = resize_window(pixels, seen, augmentation=Augmentation())
        expected = resized_and_cropped(whole, seen)
        assert image.shape == expected.shape
        errors.append(np.abs(image - expected).mean())
        if (seen.size.numpy() == whole.shape[:2]).all():
            np.testing.assert_allclose(image, expected, atol=1e-6)
    # The crop's edges may be off by half a pixel of the resized image.
    assert max(errors) < 0.02


def test_cropping_first_is_exact_where_the_edges_meet_whole_pixels():
    whole = smooth_image(64, 96)
    seen = window([16, 32], [32, 48], [64, 96])
    encoded = tf.constant(encode_image(whole, "png"))
    pixels = decode_window(encoded, seen, is_jpeg=tf.constant(False))
    image = resize_window(pixels, seen, augmentation=Augmentation())
    expected = resized_and_cropped(tf.constant(whole), seen)
    # But for the outermost pixels, which the published order blends with what was cut off.
    np.testing.assert_allclose(image[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6)
    np.testing.assert_allclose(image, expected, atol=0.02)


# ---- The published crop, held against recorded samples and images. -------------------------------


def published_window(case, geometry, **changes):
    """The window of a recorded case: the draw that gives its offsets."""
    source_size = geometry[f"source_{case}"].shape[:2]
    image_size = tuple(geometry["target_size"][case].tolist())
    scale, flip = float(geometry["scale"][case]), geometry["flip"][case]
    free = np.maximum(geometry["scaled_size"][case] - image_size, 0)
    axis = free.argmax()
    draw = (geometry["crop_offset"][case][axis] + 0.5) / max(free[axis], 1)
    return choose_window(
        tf.constant(source_size),
        tf.constant([0.5, draw, draw, 0.25 if flip else 0.75], tf.float32),
        image_size=image_size,
        augmentation=Augmentation(scale_min=scale, scale_max=scale, crop="diagonal"),
    )


@pytest.mark.parametrize("case", range(6))
def test_the_published_pixels_and_boxes(case):
    geometry = reference.arrays("input/geometry")
    seen = published_window(case, geometry)
    source = tf.constant(geometry[f"source_{case}"])
    np.testing.assert_array_equal(seen.content_size, geometry["crop_size"][case])
    stretch = seen.content_size.numpy() / seen.seen_size.numpy()
    np.testing.assert_allclose(seen.seen_offset * stretch, geometry["crop_offset"][case], atol=1e-4)
    np.testing.assert_allclose(source.shape[:2] * stretch, geometry["scaled_size"][case], rtol=1e-6)

    encoded = tf.constant(encode_image(source.numpy(), "png"))
    pixels = decode_window(encoded, seen, is_jpeg=tf.constant(False))
    image = resize_window(pixels, seen, augmentation=Augmentation(crop="diagonal"))
    height, width = seen.content_size.numpy()
    expected = geometry[f"image_{case}"]
    np.testing.assert_allclose(image, expected[:height, :width], atol=1e-5)
    assert (expected[height:] == np.float32(0.3)).all()
    assert (expected[:, width:] == np.float32(0.3)).all()

    boxes = boxes_in_window(
        tf.constant(geometry[f"boxes_{case}"])[tf.newaxis],
        Window(*(part[tf.newaxis] for part in seen)),
        source_size_B2=tf.constant([source.shape[:2]]),
    )
    np.testing.assert_allclose(boxes[0], geometry[f"boxes_in_crop_{case}"], atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    source_size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    image_size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    scale=st.floats(0.1, 3.0),
    draws=st.tuples(*[unit] * 4),
)
def test_a_diagonal_crop_is_that_of_the_resized_image(source_size, image_size, scale, draws):
    augmentation = Augmentation(scale_min=scale, scale_max=scale, crop="diagonal")
    whole = np.random.default_rng(0).integers(0, 256, (*source_size, 3), dtype=np.uint8)
    seen = choose_window(
        tf.constant(source_size),
        tf.constant(draws),
        image_size=image_size,
        augmentation=augmentation,
    )
    (top, left), (height, width) = seen.offset.numpy(), seen.size.numpy()
    pixels = tf.constant(whole[top : top + height, left : left + width])
    image = resize_window(pixels, seen, augmentation=augmentation)
    expected = resized_and_cropped(whole, seen)
    np.testing.assert_allclose(image, expected[:, ::-1] if seen.flip else expected, atol=1e-4)


@needs_shared
def test_the_published_pixels_of_photographs():
    augmentation = Augmentation(crop="diagonal")
    for index, path in enumerate(sorted((SHARED / "coco_sample/images/val2017").iterdir())):
        encoded = tf.io.read_file(str(path))
        whole = tf.io.decode_jpeg(encoded, channels=3)
        seen = choose_window(
            tf.shape(whole)[:2],
            tf.constant([0.15 * (index + 1), 0.4, 0.6, 0.1 + 0.8 * (index % 2)]),
            image_size=(320, 320),
            augmentation=augmentation,
        )
        pixels = decode_window(encoded, seen, is_jpeg=tf.constant(True))
        image = resize_window(pixels, seen, augmentation=augmentation)
        expected = resized_and_cropped(whole, seen)
        expected = expected[:, ::-1] if seen.flip else expected
        # The places of the samples are rounded to float32: some 1e-4 of a pixel.
        np.testing.assert_allclose(image, expected, atol=2e-4)


def windows(source_size, image_size, *, number, **augmentation):
    """What is drawn: scaled sizes, crop offsets in the scaled image, flips."""

    @tf.function
    def draw():
        draws = tf.random.stateless_uniform([number, 4], seed=[3, 1])
        return tf.vectorized_map(
            lambda row: choose_window(
                tf.constant(source_size),
                row,
                image_size=image_size,
                augmentation=Augmentation(**augmentation),
            ),
            draws,
        )

    seen = draw()
    stretch = seen.content_size.numpy() / seen.seen_size.numpy()
    scaled_size, offset = stretch * source_size, stretch * seen.seen_offset.numpy()
    return np.round(scaled_size), np.round(offset), seen.flip.numpy()


def unlikely(name, *, crop):
    """What of our crops does not look like the recorded ones, by source."""
    config = json.loads((reference.REFERENCE / "input/config.json").read_text())
    recorded, found = reference.arrays(f"input/{name}"), set()
    image_size = tuple(config[name]["image_size"])
    scales = {key: config[name][key] for key in ("scale_min", "scale_max")}
    for index in np.unique(recorded["source"]):
        rows = recorded["source"] == index
        theirs = [recorded[key][rows] for key in ("scaled_size", "crop_offset", "flip")]
        source_size = config["sources"][index]["size"]
        ours = windows(source_size, image_size, number=20_000, crop=crop, **scales)
        for what, values in features(*ours, image_size).items():
            if ks_2samp(values, features(*theirs, image_size)[what]).pvalue < 1e-3:
                found.add((int(index), what))
    return found


def features(scaled_size, offset, flip, image_size):
    """Numbers of each sample, the last one of those that can move along both axes."""
    free = scaled_size - image_size
    moves = (free > 20).all(axis=1)
    share = offset[moves] / free[moves]
    named = {"scaled size": scaled_size, "offset": offset}
    marginals = {f"{name} {axis}": named[name][:, axis] for name in named for axis in range(2)}
    return marginals | {"flip": flip} | ({"joint": share[:, 0] - share[:, 1]} if any(moves) else {})


@pytest.mark.parametrize("name", ["samples", "samples_narrow"])
def test_crops_are_drawn_as_published(name):
    assert unlikely(name, crop="diagonal") == set()


def test_independent_offsets_are_noticed():
    # By themselves they look the same.
    found = unlikely("samples", crop="anywhere")
    assert found
    assert {what for _, what in found} == {"joint"}
