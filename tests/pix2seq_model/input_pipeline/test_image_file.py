"""Images made ready, and those that are refused."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.data.image_check import ImageDefect, check_image
from pix2seq_model.input_pipeline.image_file import prepare_image, prepare_pixels
from pix2seq_model.input_pipeline.preprocessing import decode_image
from tests.fixtures.records import jpeg


def encoded(size, kind="PNG", mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, 128).save(file, kind, **options)
    return file.getvalue()


def test_an_image_is_fitted_into_the_models_input():
    prepared = prepare_image(jpeg(80, 40, seed=1), image_size=(32, 64))
    assert prepared.pixels.shape == (40, 80, 3)
    assert (prepared.width, prepared.height) == (80, 40)
    assert prepared.image.shape == (32, 64, 3)
    assert prepared.content_size.tolist() == [32, 64]
    assert prepare_image(jpeg(40, 80, seed=1), image_size=(32, 64)).content_size.tolist() == [
        32,
        16,
    ]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_is_read(kind, mode):
    prepared = prepare_image(encoded((9, 7), kind, mode), image_size=(16, 16))
    assert prepared.pixels.shape == (7, 9, 3)


def test_a_photograph_is_turned_upright_but_that_of_a_record_is_not():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = encoded((9, 7), "JPEG", exif=exif)
    turned = prepare_image(file, image_size=(16, 16))
    assert turned.is_turned
    assert turned.pixels.shape == (turned.height, turned.width, 3) == (9, 7, 3)
    stored = prepare_image(file, image_size=(16, 16), apply_exif=False)
    assert (stored.is_turned, stored.pixels.shape, stored.plain) == (False, (7, 9, 3), None)


def test_the_pixels_are_those_of_a_record():
    files = [encoded((9, 7), "PNG", "RGBA"), encoded((9, 7), "JPEG", "CMYK")]
    files.append(encoded((9, 7), "TIFF", "F"))
    for file in files:
        prepared = prepare_image(file, image_size=(16, 16))
        limits = {"expected_size": (7, 9), "max_pixels": 10_000}
        record = check_image(file, file_name="a", **limits).encoded
        assert prepared.plain == record
        np.testing.assert_array_equal(prepared.pixels, decode_image(record))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "image_not_decodable"),
        (b"text", "image_not_decodable"),
        (jpeg(80, 50, seed=2)[:-400], "image_truncated"),
        (encoded((9, 7))[:40], "image_not_decodable"),
        (encoded((101, 100)), "image_too_large"),
        (encoded((9, 7), "PPM"), "image_not_decodable"),
    ],
)
def test_what_is_refused(data, rule):
    with pytest.raises(ImageDefect) as caught:
        prepare_image(data, image_size=(16, 16), max_pixels=10_000)
    assert caught.value.rule == rule


def test_a_bomb_is_refused_by_its_header():
    # A few bytes that unpack to 1.6 gigabytes.
    header = encoded((1, 1), "PNG")
    width = (40_000).to_bytes(4, "big")
    bomb = header[:16] + width + width + header[24:]
    bomb = bomb[:29] + zlib.crc32(bomb[12:29]).to_bytes(4, "big") + bomb[33:]
    with pytest.raises(ImageDefect) as caught:
        prepare_image(bomb, image_size=(16, 16), max_pixels=50_000_000)
    assert caught.value.rule == "image_too_large"


def test_the_same_pixels_whatever_the_container():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    files = []
    for kind in ("PNG", "BMP"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        files.append(prepare_image(file.getvalue(), image_size=(16, 16)))
    for prepared in files:
        np.testing.assert_array_equal(prepared.pixels, pixels)
    np.testing.assert_array_equal(files[0].image, files[1].image)


def test_pixels_are_kept_only_where_they_are_wanted():
    pixels = np.zeros((50, 80, 3), np.uint8)
    assert prepare_pixels(pixels, image_size=(16, 16)).pixels is pixels
    prepared = prepare_pixels(pixels, image_size=(16, 16), keep_pixels=False)
    assert (prepared.height, prepared.width, prepared.pixels.size) == (50, 80, 0)
