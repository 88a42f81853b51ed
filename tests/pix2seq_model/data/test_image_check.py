"""Image files: what passes untouched, what is made plain, what is refused."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.data.image_check import ImageDefect, check_image

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def encode(image_format="JPEG", mode="RGB", *, pixels=PIXELS, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def check(data, *, file_name="a.jpg", expected_size=(30, 40), max_pixels=10_000, decode=False):
    return check_image(
        data,
        file_name=file_name,
        expected_size=expected_size,
        max_pixels=max_pixels,
        decode=decode,
    )


def rules(checked):
    return [rule for rule, _ in checked.changes]


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize(
    ("data", "name", "image_format"),
    [
        (encode("JPEG"), "a.jpg", "jpeg"),
        (encode("JPEG", "L"), "a.JPEG", "jpeg"),
        (encode("JPEG", progressive=True), "a", "jpeg"),
        (encode("JPEG") + b"\0\0trailing", "a.jpg", "jpeg"),
        (encode("PNG"), "a.png", "png"),
        (encode("PNG", "L"), "a.png", "png"),
    ],
)
def test_plain_files_pass_byte_for_byte(data, name, image_format, decode):
    checked = check(data, file_name=name, decode=decode)
    assert checked.encoded is data
    assert checked.image_format == image_format
    assert (checked.height, checked.width) == (30, 40)
    assert checked.changes == ()


def test_a_png_named_jpg_keeps_its_true_format():
    data = encode("PNG")
    checked = check(data)
    assert checked.encoded is data
    assert checked.image_format == "png"
    assert rules(checked) == ["image_format_mismatch"]


@pytest.mark.parametrize(
    ("data", "name", "image_format"),
    [
        (encode("JPEG", "CMYK", quality=95), "a.jpg", "jpeg"),
        (encode("PNG", "RGBA"), "a.png", "png"),
        (encode("PNG", "P"), "a.png", "png"),
        (encode("GIF"), "a.gif", "png"),
        (encode("BMP"), "a.bmp", "png"),
        (encode("WEBP", lossless=True), "a.webp", "png"),
        (encode("TIFF"), "a.tif", "png"),
    ],
)
def test_uncommon_kinds_become_plain_rgb(data, name, image_format):
    checked = check(data, file_name=name)
    assert checked.image_format == image_format
    assert rules(checked) == ["image_reencoded"]
    stored = Image.open(io.BytesIO(checked.encoded))
    assert (stored.format, stored.mode, stored.size) == (image_format.upper(), "RGB", (40, 30))
    before = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)
    assert np.abs(np.asarray(stored, float) - before).mean() < 4
    assert check(checked.encoded, file_name="a").changes == ()
    assert check(data, file_name=name).encoded == checked.encoded


def test_16_bit_png_is_scaled_not_clipped():
    grey = np.linspace(0, 65535, 30 * 40).astype(np.uint16).reshape(30, 40)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    checked = check(buffer.getvalue(), file_name="a.png")
    assert rules(checked) == ["image_reencoded"]
    stored = np.asarray(Image.open(io.BytesIO(checked.encoded)))
    assert stored.dtype == np.uint8
    np.testing.assert_allclose(stored[..., 0], grey / 257, atol=1)


def test_transparent_pixels_show_white():
    image = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    checked = check(buffer.getvalue(), file_name="a.png")
    assert Image.open(io.BytesIO(checked.encoded)).getpixel((3, 3)) == (255, 255, 255)


def test_size_is_taken_from_the_file_where_the_json_has_none():
    checked = check(encode(), expected_size=None)
    assert (checked.height, checked.width) == (30, 40)
    assert rules(checked) == ["image_size_missing"]


JPEG = encode()


@pytest.mark.parametrize(
    ("data", "options", "rule", "detail"),
    [
        (b"", {}, "image_not_decodable", "empty"),
        (b"<html>not found</html>", {}, "image_not_decodable", "an HTML page: the download failed"),
        (
            b"version https://git-lfs.x",
            {},
            "image_not_decodable",
            "a Git LFS pointer.*git lfs pull",
        ),
        (bytes(500), {}, "image_not_decodable", "holds zero bytes only"),
        (b"abcdefgh", {}, "image_not_decodable", "begins with b'abcdefgh'"),
        (JPEG[:20], {}, "image_not_decodable", "image_not"),
        (JPEG[: len(JPEG) // 2], {}, "image_truncated", "image_trunc"),
        (JPEG[:-2], {"decode": True}, "image_truncated", "image_trunc"),
        (encode("PNG")[:-30], {"file_name": "a.png"}, "image_truncated", "image_trunc"),
        (JPEG, {"expected_size": (31, 40)}, "image_wrong_size", "40 x 30.*40 x 31"),
        (JPEG, {"expected_size": (40, 30)}, "image_wrong_size", "EXIF"),
        (JPEG, {"max_pixels": 1199}, "image_too_large", "limit 1199"),
    ],
)
def test_refused(data, options, rule, detail):
    with pytest.raises(ImageDefect, match=detail) as caught:
        check(data, **options)
    assert caught.value.rule == rule


def test_damage_inside_is_found_by_decoding_only():
    png = bytearray(encode("PNG"))
    middle = len(png) // 2
    png[middle : middle + 40] = bytes(40)
    assert check(bytes(png), file_name="a.png").encoded == bytes(png)
    with pytest.raises(ImageDefect) as caught:
        check(bytes(png), file_name="a.png", decode=True)
    assert caught.value.rule in ("image_not_decodable", "image_truncated")


def test_a_decompression_bomb_is_refused_by_its_header():
    header = bytearray(encode("PNG")[:33])
    header[16:24] = (60_000).to_bytes(4) + (60_000).to_bytes(4)
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4)
    with pytest.raises(ImageDefect) as caught:
        check(bytes(header) + encode("PNG")[33:], file_name="a.png", expected_size=None)
    assert caught.value.rule == "image_too_large"
