"""Published numbers are shown for published set-ups and no others."""

import dataclasses

import pytest

from pix2seq_model.network.config import ModelConfig
from pix2seq_model.published.coco_categories import COCO_CATEGORIES
from pix2seq_model.published.results import COCO_AP, published_ap

COCO_IDS = [category["id"] for category in COCO_CATEGORIES]
COCO = {"num_bins": 1000, "category_ids": COCO_IDS, "num_images": 5000}


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("resnet", 640, 0.391),
        ("resnetc", 1333, 0.473),
        ("vit_b", 1024, 0.465),
        ("vit_l", 640, 0.476),
    ],
)
def test_a_published_set_up(name, side, expected):
    value, text = published_ap(ModelConfig.published(name, (side, side)), **COCO)
    assert value == pytest.approx(expected)
    assert f"{side} px" in text


def test_three_sizes_of_each():
    assert {len(sizes) for sizes in COCO_AP.values()} == {3}


def test_anything_else_has_none():
    model = ModelConfig.published("vit_b")
    assert published_ap(ModelConfig.published("vit_b", (512, 512)), **COCO) is None
    assert published_ap(ModelConfig.published("vit_b", (640, 1024)), **COCO) is None
    assert published_ap(dataclasses.replace(model, num_encoder_layers=6), **COCO) is None
    assert published_ap(model, **{**COCO, "category_ids": range(1, 81)}) is None
    assert published_ap(model, **{**COCO, "num_images": 100}) is None
    from_scratch = {**COCO, "num_bins": 2000}
    assert published_ap(ModelConfig.published("resnet", (640, 640)), **from_scratch) is None
    assert published_ap(ModelConfig.published("resnetc", (1333, 1333)), **from_scratch) is None
    assert published_ap(ModelConfig.published("vit_b", (1333, 1333)), **from_scratch) is None
