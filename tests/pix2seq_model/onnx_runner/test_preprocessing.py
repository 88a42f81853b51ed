"""Images are made ready as `input_pipeline` does it: the same sizes, keys and values."""

import io

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.data.image_check import ImageDefect
from pix2seq_model.input_pipeline import image_file
from pix2seq_model.onnx_runner.preprocessing import prepare_image, prepare_pixels
from tests.fixtures.records import jpeg


def png(width, height):
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("resize", ["antialias", "plain"])
@pytest.mark.parametrize(
    # Larger, smaller, as large, far larger; one whose side falls on a half; one pixel.
    "size",
    [(90, 40), (33, 47), (64, 48), (500, 461), (128, 3), (1, 1), (1, 20_000), (9_000, 2)],
)
def test_a_png_file_is_prepared_the_same(size, resize):
    how = {"image_size": (48, 64), "resize": resize}
    expected = image_file.prepare_image(png(*size), **how)
    image = prepare_image(png(*size), **how)
    assert image.content_size == tuple(expected.content_size)
    assert image.key() == expected.key
    np.testing.assert_array_equal(image.pixels, expected.pixels)
    np.testing.assert_allclose(image.image, expected.image, rtol=0, atol=1e-4)


def test_a_jpeg_file_differs_only_by_how_it_is_decoded():
    how = {"image_size": (48, 64), "resize": "antialias"}
    expected = image_file.prepare_image(jpeg(90, 70, seed=1), **how)
    image = prepare_image(jpeg(90, 70, seed=1), **how)
    difference = np.abs(image.pixels.astype(int) - expected.pixels)
    assert difference.max() <= 32
    assert difference.mean() < 3
    again = prepare_pixels(expected.pixels, **how)
    assert again.key() == expected.key
    np.testing.assert_allclose(again.image, expected.image, rtol=0, atol=1e-4)


def test_a_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (80, 50), "red").save(buffer, "JPEG", exif=exif)
    image = prepare_image(buffer.getvalue(), image_size=(64, 64), resize="antialias")
    assert image.pixels.shape == (80, 50, 3)
    assert image.content_size == (64, 40)


def test_damage_is_named():
    with pytest.raises(ImageDefect, match="the file is empty"):
        prepare_image(b"", image_size=(64, 64), resize="antialias")
    # Its end is there, and something in the middle is not.
    damaged = png(90, 40)
    damaged = damaged[:200] + bytes(100) + damaged[300:]
    with pytest.raises(ImageDefect, match="image_not_decodable"):
        prepare_image(damaged, image_size=(64, 64), resize="antialias")


def test_without_its_pixels_an_image_keeps_size_and_key():
    image = prepare_image(jpeg(90, 70, seed=1), image_size=(64, 64), resize="plain")
    small = image.without_pixels(has_key=True)
    assert (small.height, small.width, small.pixels.size) == (70, 90, 0)
    assert small.key() == image.key()
    assert (small.image == image.image).all()
    assert image.without_pixels(has_key=False).height == 70
