"""Pictures of attention: light where the map says, on the part of the map that is photograph."""

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.decoding.attention import cross_attention_maps
from pix2seq_model.input_pipeline.image_file import PreparedImage
from pix2seq_model.model_folder.folder import load_model_folder
from pix2seq_model.reports import attention_pictures
from pix2seq_model.reports.attention_pictures import (
    TOKEN_NAMES,
    AttentionReader,
    attention_sheet,
)
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
        is_turned=False,
        pixels=pixels,
    )


def test_five_pictures_of_each_of_the_first_objects(network, photograph):
    reader = AttentionReader(network, names=NAMES, **DECODING)
    found = reader.of_found(photograph, num_objects=2)
    assert len(found) == 2
    for row in found:
        assert row.name in ("ring", "cross") or row.name.startswith("class ")
        assert 0 < row.score <= 1
        assert tuple(part.token for part in row.pictures) == TOKEN_NAMES
        assert {part.picture.size for part in row.pictures} == {(180, 90)}
    scores = [row.score for row in reader.of_found(photograph)]
    assert len(scores) == MAX_OBJECTS
    surest = reader.of_found(photograph, score_threshold=max(scores))
    assert [row.score for row in surest] == [max(scores)]
    sheet = attention_sheet(found)
    assert sheet.width > 5 * 180
    assert attention_sheet([]) is None


def test_given_boxes_are_asked_for_their_class_each_alone(network, photograph):
    reader = AttentionReader(network, names=NAMES, **DECODING)
    boxes = [(8.0, 4.0, 16.0, 20.0), (40.0, 0.0, 40.0, 40.0)]
    together = reader.of_given(photograph, boxes)
    alone = [reader.of_given(photograph, [box])[0] for box in boxes]
    assert [len(row.pictures) for row in together] == [1, 1]
    for one, other in zip(together, alone):
        assert one.name == other.name
        assert one.score == pytest.approx(other.score, rel=1e-5)
    assert reader.of_given(photograph, []) == []


def test_the_class_that_is_read_is_the_networks_for_these_tokens(network, photograph):
    reader = AttentionReader(network, names=NAMES, **DECODING)
    (row,) = reader.of_given(photograph, [(8.0, 4.0, 16.0, 20.0)])
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


def test_the_light_falls_where_the_map_says(photograph):
    lit = np.zeros((4, 4), np.float32)
    lit[1, 3] = 1.0  # second row of four: the lower part of the photograph, at its right
    light = attention_pictures._stretched(lit, photograph, (80, 40))
    assert light.max() == pytest.approx(1.0)
    y, x = np.unravel_index(np.argmax(light), light.shape)
    assert 20 <= y < 40
    assert 60 <= x < 80
    padding = np.zeros((4, 4), np.float32)
    padding[3] = 1.0
    assert attention_pictures._stretched(padding, photograph, (80, 40)).max() < 0.2


def test_maps_are_of_the_tokens_before_them(network, photograph):
    """The last token is predicted, never seen: it changes no map."""
    tokens = np.array([[110, 120, 130, 140, 102]], np.int32)
    other = np.array([[110, 120, 130, 140, 103]], np.int32)
    one, two = (cross_attention_maps(network, photograph.image[None], t) for t in (tokens, other))
    assert np.array_equal(one, two)
