"""Image files: what passes untouched, what is made plain, what is refused."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from pix2seq_model.data.image_check import ImageDefect, _open, check_image, plain_image

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
        (encode("AVIF", quality=95), "a.avif", "png"),
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


def grey_file(values, image_format="TIFF"):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, image_format)
    return buffer.getvalue()


RAMP = np.linspace(0, 1, 30 * 40).reshape(30, 40)


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.float32),
        (1e5 * RAMP - 5e4).astype(np.float32),
        (4095 * RAMP).astype(np.uint16),
        (29_000 + 2000 * RAMP).astype(np.uint16),
        (-70_000 + 140_000 * RAMP).astype(np.int32),
    ],
)
def test_deep_grey_is_scaled_from_its_own_range(values):
    checked = check(grey_file(values), file_name="a.tif")
    stored = np.asarray(Image.open(io.BytesIO(checked.encoded)))
    np.testing.assert_allclose(stored[..., 0], 255 * RAMP, atol=1)
    assert rules(checked) == ["image_reencoded"]
    assert "scaled to 0 to 255" in checked.changes[0][1]


def test_grey_that_outliers_leave_few_levels_of_is_told():
    values = RAMP.astype(np.float32)
    values[0, :3] = np.nan, np.inf, -9999
    checked = check(grey_file(values), file_name="a.tif")
    assert rules(checked) == ["image_reencoded", "image_few_grey_levels"]
    with pytest.raises(ImageDefect, match="no pixel is a finite number"):
        check(grey_file(np.full((30, 40), np.nan, np.float32)))


def deep_rgb_png(most):
    """A PNG of 16-bit RGB, which Pillow does not write."""
    row = np.linspace(0, most, 40).astype(">u2").repeat(3).tobytes()

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content).to_bytes(4)
        return len(content).to_bytes(4) + kind + content + checksum

    header = (40).to_bytes(4) + (30).to_bytes(4) + bytes([16, 2, 0, 0, 0])
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(30 * (b"\0" + row))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_deep_colours_keep_their_upper_bits_or_are_refused():
    stored = Image.open(io.BytesIO(check(deep_rgb_png(65535)).encoded))
    assert stored.getpixel((39, 0)) == (255, 255, 255)
    with pytest.raises(ImageDefect, match="more than 8 bits"):
        check(deep_rgb_png(4095))


def turned(orientation, image_format="JPEG", *, size=(40, 30)):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image_format, pixels=PIXELS[: size[1], : size[0]], exif=exif)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_turned_where_the_size_says_so(orientation, image_format):
    data = turned(orientation, image_format)
    checked = check(data, file_name="a", expected_size=(40, 30))
    assert rules(checked) == ["image_turned"]
    assert (checked.height, checked.width, checked.is_turned) == (40, 30, True)
    stored = Image.open(io.BytesIO(checked.encoded))
    assert stored.size == (30, 40)
    assert not stored.getexif()
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), float)
    assert np.abs(np.asarray(stored, float) - upright).mean() < 4
    # The model's users get the same file.
    assert plain_image(data).encoded == checked.encoded
    assert plain_image(data, apply_exif=False).encoded is data


@pytest.mark.parametrize(
    ("data", "expected_size", "found"),
    [
        (turned(6), (30, 40), []),
        (turned(1), (30, 40), []),
        (turned(9), (30, 40), []),
        (turned(3), (30, 40), ["image_orientation_unclear"]),
        (turned(6, size=(30, 30)), (30, 30), ["image_orientation_unclear"]),
        (turned(6), None, ["image_orientation_unclear", "image_size_missing"]),
    ],
)
def test_stored_as_it_is_and_told_where_sizes_cannot_tell(data, expected_size, found):
    checked = check(data, expected_size=expected_size)
    assert checked.encoded is data
    assert rules(checked) == found


@pytest.mark.parametrize(
    ("mode", "color", "options"),
    [
        ("RGBA", (0, 0, 0, 0), {}),
        ("LA", (0, 0), {}),
        ("P", 0, {"transparency": 0}),
        ("RGB", (9, 0, 9), {"transparency": (9, 0, 9)}),
        ("L", 9, {"transparency": 9}),
    ],
)
def test_transparent_pixels_show_white(mode, color, options):
    image = Image.new(mode, (40, 30), color)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
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
        (b"\0\0\0\x18ftypheic\0\0\0\0", {}, "image_not_decodable", "HEIC"),
        (JPEG[:20], {}, "image_not_decodable", "image_not"),
        (JPEG[: len(JPEG) // 2], {}, "image_truncated", "image_trunc"),
        (JPEG[:-2], {"decode": True}, "image_truncated", "image_trunc"),
        (encode("PNG")[:-30], {"file_name": "a.png"}, "image_truncated", "image_trunc"),
        (JPEG, {"expected_size": (31, 40)}, "image_wrong_size", "40 x 30.*40 x 31"),
        (JPEG, {"expected_size": (40, 30)}, "image_wrong_size", "EXIF"),
        (JPEG, {"max_pixels": 1199}, "image_too_large", "limit is 1,199"),
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


def test_the_users_limit_is_the_limit():
    with io.BytesIO() as buffer:
        Image.new("1", (20_000, 10_000)).save(buffer, "PNG")
        data = buffer.getvalue()
    assert _open(data, 200_000_000).size == (20_000, 10_000)
    with pytest.raises(ImageDefect, match="limit is 199,999,999"):
        _open(data, 199_999_999)


def test_a_decompression_bomb_is_refused_by_its_header():
    header = bytearray(encode("PNG")[:33])
    header[16:24] = (60_000).to_bytes(4) + (60_000).to_bytes(4)
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4)
    with pytest.raises(ImageDefect) as caught:
        check(bytes(header) + encode("PNG")[33:], file_name="a.png", expected_size=None)
    assert caught.value.rule == "image_too_large"
