"""Attention of found objects and of given boxes."""

import re

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.decoding.attention import cross_attention_maps
from pix2seq_model.decoding.attention_reader import AttentionReader
from pix2seq_model.input_pipeline.image_file import PreparedImage
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.tokens.vocabulary import CLASS_SHIFT, DETECTION_PROMPT
from tests.fixtures.evaluated_model import MAX_OBJECTS, write_model

NAMES = {2: "ring", 3: "cross"}
# The weights are random: without it there would be no object.
DECODING = {"max_objects": MAX_OBJECTS, "top_k": 1, "end_token_offset": -100.0, "batch_size": 1}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_model_folder(str(write_model(tmp_path_factory.mktemp("model"))))[0]


@pytest.fixture(scope="module")
def photograph():
    """Twice as wide as high: the lower half of what the network sees is padding."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8)
    prepared = np.full((64, 64, 3), 0.3, np.float32)
    prepared[:32] = np.asarray(Image.fromarray(pixels).resize((64, 32)), np.float32) / 255
    return PreparedImage(
        height=40,
        width=80,
        image=prepared,
        content_size=np.array([32, 64]),
        key=0,
        is_turned=False,
        pixels=pixels,
    )


def test_five_maps_of_each_of_the_first_objects(network, photograph):
    reader = AttentionReader(network, names=NAMES, **DECODING)
    image = reader.read(photograph, image_id=7, num_objects=2)
    assert (image.image_id, image.image_size, image.content_size) == (7, (64, 64), (32, 64))
    assert image.given == ()
    assert len(image.found) == 2
    for row in image.found:
        assert row.name in ("ring", "cross") or re.fullmatch(r"class \d+", row.name)
        assert 0 < row.score <= 1
        assert row.token_names == ("ymin", "xmin", "ymax", "xmax", "class")
        assert row.maps.shape == (5, *network.encoder.map_size)
        assert row.maps.sum(axis=(1, 2)) == pytest.approx([1] * 5, abs=1e-3)
    scores = [row.score for row in reader.read(photograph, image_id=7).found]
    assert len(scores) == MAX_OBJECTS
    surest = reader.read(photograph, image_id=7, score_threshold=max(scores))
    assert [row.score for row in surest.found] == [max(scores)]


def test_given_boxes_are_asked_for_their_class_each_alone(network, photograph):
    reader = AttentionReader(network, names=NAMES, **DECODING)
    boxes = [(8.0, 4.0, 16.0, 20.0), (40.0, 0.0, 40.0, 40.0)]

    def given(boxes):
        return reader.read(photograph, image_id=1, boxes_xywh=boxes).given

    together = given(boxes)
    alone = [given([box])[0] for box in boxes]
    assert [row.token_names for row in together] == [("class",), ("class",)]
    assert together[0].box_yxyx == pytest.approx((0.1, 0.1, 0.6, 0.3))
    for one, other in zip(together, alone):
        assert one.name == other.name
        assert one.score == pytest.approx(other.score, rel=1e-5)
        assert one.maps == pytest.approx(other.maps, abs=1e-5)
    assert given([]) == ()


def test_the_class_that_is_read_is_the_networks_for_these_tokens(network, photograph):
    reader = AttentionReader(network, names=NAMES, **DECODING)
    (row,) = reader.read(photograph, image_id=1, boxes_xywh=[(8.0, 4.0, 16.0, 20.0)]).given
    vocabulary = network.vocabulary
    # The photograph takes the upper half of what the network sees.
    coordinates = vocabulary.quantize(np.array([0.05, 0.1, 0.3, 0.3]))
    inputs = {
        "image": photograph.image[None],
        "tokens": np.array([[DETECTION_PROMPT, *coordinates]], np.int32),
    }
    logits = np.asarray(network(inputs))[0, -1].astype(np.float64)
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    classes = chances[CLASS_SHIFT : vocabulary.coord_shift]
    assert row.score == pytest.approx(classes.max(), rel=1e-5)
    assert row.name == NAMES.get(classes.argmax(), f"class {classes.argmax()}")


def test_maps_are_of_the_tokens_before_them(network, photograph):
    """The last token is predicted, never seen: it changes no map."""
    tokens = np.array([[110, 120, 130, 140, 102]], np.int32)
    other = np.array([[110, 120, 130, 140, 103]], np.int32)
    one, two = (cross_attention_maps(network, photograph.image[None], t) for t in (tokens, other))
    assert np.array_equal(one, two)
