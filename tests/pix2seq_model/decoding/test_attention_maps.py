"""Attention comes back from its files as it was."""

import numpy as np
import pytest

from pix2seq_model.decoding.attention_maps import (
    ImageAttention,
    ObjectAttention,
    read_attention,
    write_attention,
)
from pix2seq_model.errors import DataError


def seen(name, num_maps):
    maps = np.random.default_rng(num_maps).random((num_maps, 3, 4), np.float32)
    return ObjectAttention(name=name, score=0.25, box_yxyx=(0.1, 0.2, 0.3, 0.4), maps=maps)


def test_every_digit_comes_back(tmp_path):
    images = [
        ImageAttention(
            image_id=2**60 + 1,
            image_size=(48, 64),
            content_size=(40, 64),
            found=(seen("ring", 5), seen("cross", 5)),
            given=(seen("ring", 1),),
        ),
        ImageAttention(image_id=3, image_size=(48, 64), content_size=(48, 50)),
    ]
    write_attention(tmp_path, images)
    again = read_attention(tmp_path)
    assert [image.image_id for image in again] == [2**60 + 1, 3]
    for image, before in zip(again, images):
        assert (image.image_size, image.content_size) == (before.image_size, before.content_size)
        for part in ("found", "given"):
            ours, theirs = getattr(image, part), getattr(before, part)
            assert [(o.name, o.score, o.box_yxyx) for o in ours] == [
                (o.name, o.score, o.box_yxyx) for o in theirs
            ]
            assert all(np.array_equal(a.maps, b.maps) for a, b in zip(ours, theirs))
    assert again[0].found[0].token_names == ("ymin", "xmin", "ymax", "xmax", "class")
    assert again[0].given[0].token_names == ("class",)


def test_no_image_and_no_file(tmp_path):
    write_attention(tmp_path, [])
    assert read_attention(tmp_path) == []
    with pytest.raises(DataError, match="evaluate again"):
        read_attention(tmp_path / "absent")
    (tmp_path / "attention.npz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="evaluate again"):
        read_attention(tmp_path)
