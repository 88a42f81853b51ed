import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pix2seq_model.boxes import scale_box_yxyx
from pix2seq_model.input_pipeline.image_file import prepare_image
from pix2seq_model.input_pipeline.preprocessing import (
    decode_file,
    decode_image,
    preprocess_for_evaluation,
    preprocess_images,
)
from pix2seq_model.input_pipeline.settings import RESIZES
from tests.fixtures import reference
from tests.fixtures.records import encode_image, smooth_image
from tests.fixtures.shared_material import SHARED, needs_shared


@needs_shared
def test_the_published_preprocessing():
    with np.load(SHARED / "reference/ops/eval_transform.npz") as recorded:
        (path,) = (SHARED / "coco_sample/images").glob(f"*/{recorded['image_file']}")
        image = decode_image(tf.io.read_file(str(path)))
        padded, content_size = preprocess_for_evaluation(image, (320, 320))
        np.testing.assert_array_equal(tf.shape(image)[:2], recorded["orig_image_size"])
        np.testing.assert_allclose(padded, recorded["image"], atol=1e-6)
        np.testing.assert_array_equal(content_size, recorded["unpadded_image_size"])


@pytest.mark.parametrize("resize", RESIZES)
def test_the_recorded_images_of_both_ways_of_resizing(resize):
    recorded = reference.arrays("evaluation/evaluation")
    for index, source_size in enumerate(recorded["source_size"]):
        pixels = recorded[f"source_{index}"]
        prepared = preprocess_images(pixels[None], (64, 64), resize=resize)
        np.testing.assert_array_equal(prepared["source_size"][0], source_size)
        content_size = recorded[f"content_size_{resize}"][index]
        np.testing.assert_array_equal(prepared["content_size"][0], content_size)
        expected = recorded[f"image_{resize}"][index]
        np.testing.assert_allclose(prepared["image"][0], expected, atol=1e-5)
        # The ways of a file and of a record.
        file = prepare_image(encode_image(pixels, "png"), image_size=(64, 64), resize=resize)
        np.testing.assert_allclose(file.image, expected, atol=1e-5)
        share = (content_size / 64).astype(np.float32)
        moved = scale_box_yxyx(recorded["gt_boxes"][index], share)
        np.testing.assert_allclose(moved, recorded[f"gt_boxes_{resize}"][index], atol=1e-6)


def test_the_other_way_of_resizing_is_not_within_the_tolerance():
    recorded = reference.arrays("evaluation/evaluation")
    sizes = recorded["content_size_plain"] == recorded["content_size_antialias"]
    assert np.count_nonzero(~sizes.all(axis=1)) == 4
    assert np.abs(recorded["image_plain"] - recorded["image_antialias"]).max() > 0.1


def test_an_images_key_follows_from_its_pixels():
    pixels = smooth_image(20, 30)
    changed = pixels.copy()
    changed[7, 9, 1] ^= 1
    keys = [
        int(preprocess_images(image[None], (8, 8))["image_key"][0]) for image in (pixels, changed)
    ]
    assert keys[0] != keys[1]
    for image_size in ((8, 8), (16, 24)):
        file = prepare_image(encode_image(pixels, "png"), image_size=image_size, resize="plain")
        assert file.key == keys[0]


@pytest.mark.parametrize(
    ("source_size", "image_size", "content_size"),
    [
        ((40, 80), (64, 64), (32, 64)),
        ((80, 40), (64, 64), (64, 32)),
        ((30, 30), (64, 64), (64, 64)),
        ((100, 100), (48, 96), (48, 48)),
        # Whatever becomes of the shorter side, it stays.
        ((1, 20_000), (64, 64), (1, 64)),
        ((20_000, 3), (48, 96), (48, 1)),
    ],
)
def test_the_longer_side_fits_and_the_rest_is_grey(source_size, image_size, content_size):
    image, content = preprocess_for_evaluation(tf.zeros([*source_size, 3], tf.uint8), image_size)
    assert image.shape == (*image_size, 3)
    assert tuple(content.numpy()) == content_size
    height, width = content_size
    assert not image.numpy()[:height, :width].any()
    np.testing.assert_allclose(image.numpy()[height:], 0.3, atol=1e-7)
    np.testing.assert_allclose(image.numpy()[:, width:], 0.3, atol=1e-7)


def test_grey_images_get_three_equal_channels():
    image = decode_image(tf.constant(encode_image(smooth_image(20, 30)[..., 0], "png"))).numpy()
    assert image.shape == (20, 30, 3)
    assert (image == image[..., :1]).all()


def test_a_batch_of_encoded_images_of_any_size_equals_one_by_one():
    encoded = [
        encode_image(smooth_image(20, 30)),
        encode_image(smooth_image(70, 50), "png"),
        encode_image(smooth_image(33, 33)[..., 0]),
    ]
    batch = preprocess_images(tf.constant(encoded), (48, 64))
    assert batch["source_size"].numpy().tolist() == [[20, 30], [70, 50], [33, 33]]
    for index, one in enumerate(encoded):
        image, content_size = preprocess_for_evaluation(decode_image(tf.constant(one)), (48, 64))
        np.testing.assert_array_equal(batch["image"][index], image)
        np.testing.assert_array_equal(batch["content_size"][index], content_size)


def _file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


COLORS = Image.fromarray(smooth_image(20, 30))
NOISE = np.random.default_rng(0).integers(0, 65536, (20, 30, 4))
CLEAR = Image.fromarray(NOISE.astype(np.uint8), "RGBA")


@pytest.mark.parametrize(
    "encoded",
    [
        _file(COLORS, "JPEG"),
        _file(COLORS.convert("L"), "JPEG"),
        _file(COLORS, "PNG"),
        _file(COLORS.convert("L"), "PNG"),
        _file(COLORS.convert("1"), "PNG"),
        _file(COLORS.quantize(9), "PNG"),
        _file(COLORS.quantize(9), "PNG", transparency=bytes(range(0, 90, 10))),
        _file(COLORS, "PNG", transparency=(1, 2, 3)),
        _file(COLORS.convert("L"), "PNG", transparency=100),
        _file(CLEAR, "PNG"),
        _file(CLEAR.convert("LA"), "PNG"),
        _file(Image.fromarray((NOISE[..., 0] // 16).astype(np.uint16)), "PNG"),
        _file(COLORS, "GIF"),
        _file(COLORS.convert("L"), "GIF"),
        _file(COLORS, "BMP"),
        _file(COLORS.convert("L"), "BMP"),
        _file(COLORS.quantize(9), "BMP"),
    ],
)
def test_the_served_model_decodes_as_records_are_made(encoded):
    file = prepare_image(encoded, image_size=(64, 64))
    np.testing.assert_array_equal(decode_file(tf.constant(encoded)), file.pixels)
    served = preprocess_images(tf.constant([encoded]), (64, 64))
    assert served["image_key"][0] == file.key
