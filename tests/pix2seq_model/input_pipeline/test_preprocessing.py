import numpy as np
import pytest
import tensorflow as tf

from pix2seq_model.input_pipeline.preprocessing import (
    decode_image,
    preprocess_for_evaluation,
    preprocess_images,
)
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


@pytest.mark.parametrize(
    ("source_size", "image_size", "content_size"),
    [
        ((40, 80), (64, 64), (32, 64)),
        ((80, 40), (64, 64), (64, 32)),
        ((30, 30), (64, 64), (64, 64)),
        ((100, 100), (48, 96), (48, 48)),
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
