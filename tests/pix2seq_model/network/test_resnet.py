import numpy as np
import pytest

from tests.fixtures.tiny_model import CONFIG, network

RESNET = {"backbone": "resnet", "resnet_width_multiplier": 0.125, "image_size": (70, 100)}


@pytest.mark.parametrize(
    ("variant", "map_size"), [("standard", (3, 4)), ("c4", (5, 7)), ("dc5", (5, 7))]
)
def test_maps_are_rounded_up(variant, map_size):
    model = network(**RESNET, resnet_variant=variant)
    assert model.encoder.map_size == map_size
    encoded = model.encode(np.zeros((2, 70, 100, 3), np.float32))
    assert tuple(encoded.shape) == (2, map_size[0] * map_size[1], CONFIG.dim_decoder)
