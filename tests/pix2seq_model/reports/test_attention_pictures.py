"""Pictures of attention: light where the map says, on the part of the map that is photograph."""

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.decoding.attention_maps import ImageAttention, ObjectAttention
from pix2seq_model.reports import attention_pictures
from pix2seq_model.reports.attention_pictures import attention_sheet, object_pictures

# Twice as wide as high: the lower half of what the network sees is padding.
PHOTOGRAPH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8))
SIZES = {"image_id": 1, "image_size": (64, 64), "content_size": (32, 64)}


def seen(maps):
    return ObjectAttention(name="ring", score=0.5, box_yxyx=(0.1, 0.1, 0.5, 0.9), maps=maps)


def test_a_picture_for_each_map_and_a_row_for_each_object():
    ring = seen(np.random.default_rng(1).random((5, 4, 4), np.float32))
    image = ImageAttention(**SIZES, found=(ring, ring), given=(seen(ring.maps[-1:]),))
    pictures = object_pictures(PHOTOGRAPH, image, ring)
    assert [picture.size for picture in pictures] == [(180, 90)] * 5
    assert len(object_pictures(PHOTOGRAPH, image, image.given[0])) == 1
    assert attention_sheet(PHOTOGRAPH, image).width > 5 * 180
    assert attention_sheet(PHOTOGRAPH, ImageAttention(**SIZES)) is None


def test_the_light_falls_where_the_map_says():
    lit = np.zeros((4, 4), np.float32)
    lit[1, 3] = 1.0  # second row of four: the lower part of the photograph, at its right
    image = ImageAttention(**SIZES)
    light = attention_pictures._stretched(lit, image, (80, 40))
    assert light.max() == pytest.approx(1.0)
    y, x = np.unravel_index(np.argmax(light), light.shape)
    assert 20 <= y < 40
    assert 60 <= x < 80
    padding = np.zeros((4, 4), np.float32)
    padding[3] = 1.0
    assert attention_pictures._stretched(padding, image, (80, 40)).max() < 0.2
