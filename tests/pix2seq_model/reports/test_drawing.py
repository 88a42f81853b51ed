"""Pictures with boxes: where the lines are, how sheets are laid out."""

import io

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.errors import DataError
from pix2seq_model.reports.drawing import (
    LabelledBox,
    class_color,
    contact_sheet,
    data_uri,
    detection_boxes,
    draw_boxes,
    jpeg_bytes,
    read_rgb,
    truth_boxes,
)

GREEN = (0, 255, 0)


def white(width=100, height=80):
    return Image.new("RGB", (width, height), "white")


def painted(picture, color):
    """xmin, ymin, xmax, ymax of the pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(picture) == color).all(axis=-1))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_a_box_is_drawn_where_it_is():
    image = white()
    picture = draw_boxes(image, [LabelledBox((20, 30, 40, 25), "", GREEN)])
    assert painted(picture, GREEN) == (20, 30, 59, 54)
    assert np.asarray(picture)[40, 40].tolist() == [255, 255, 255]
    assert np.asarray(image).min() == 255  # the original is left alone


def test_boxes_move_with_the_size():
    picture = draw_boxes(white(), [LabelledBox((20, 30, 40, 25), "", GREEN)], longer_side=200)
    assert picture.size == (200, 160)
    assert painted(picture, GREEN) == (40, 60, 119, 109)


@pytest.mark.parametrize("box", [(-50, -50, 500, 500), (0, 0, 0, 0), (99, 79, 50, 50)])
def test_boxes_beyond_the_picture_are_clipped_to_it(box):
    xmin, ymin, xmax, ymax = painted(draw_boxes(white(), [LabelledBox(box, "", GREEN)]), GREEN)
    assert 0 <= xmin <= xmax <= 99
    assert 0 <= ymin <= ymax <= 79


def test_tags_stay_inside_and_can_be_read():
    picture = draw_boxes(white(), [LabelledBox((90, 0, 10, 10), "a long name", GREEN)])
    pixels = np.asarray(picture).reshape(-1, 3)
    assert (pixels == GREEN).all(axis=1).sum() > 200
    assert (pixels.max(axis=1) < 80).any()  # dark letters on the light tag


def test_a_crowd_is_dashed():
    names = {1: "a"}
    (solid,) = truth_boxes([{"bbox": [10, 30, 80, 40], "category_id": 1}], names)
    (crowd,) = truth_boxes([{"bbox": [10, 30, 80, 40], "category_id": 1, "iscrowd": 1}], names)
    assert (solid.text, crowd.text) == ("a", "a (crowd)")

    def share(box):
        row = np.asarray(draw_boxes(white(), [box]))[69, 10:90]
        return (row == class_color(1)).all(axis=-1).mean()

    assert share(solid) == 1.0
    assert 0.3 < share(crowd) < 0.8


def test_detections_are_named_filtered_and_the_surest_last():
    rows = [
        {"bbox": [0, 0, 1, 1], "category_id": 1, "score": 0.9},
        {"bbox": [0, 0, 1, 1], "category_id": 7, "score": 0.456},
        {"bbox": [0, 0, 1, 1], "category_id": 1, "score": 0.1},
    ]
    boxes = detection_boxes(rows, {1: "cup "}, score_threshold=0.4)
    assert [box.text for box in boxes] == ["class 7 0.46", "cup 0.90"]
    assert len({class_color(c) for c in range(1, 91)}) == 90


def test_a_contact_sheet_holds_all_pictures():
    pictures = [Image.new("RGB", (50, 25), (i * 20, 0, 0)) for i in range(5)]
    sheet = contact_sheet(pictures, captions=["x" * 100] * 5, columns=2, cell=100)
    assert sheet.width == 6 + 2 * 106
    colors = {tuple(color) for color in np.asarray(sheet).reshape(-1, 3)}
    assert {(i * 20, 0, 0) for i in range(5)} <= colors
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 captions for 5"):
        contact_sheet(pictures, captions=["a"])


def test_encoding_and_reading_back():
    encoded = jpeg_bytes(white())
    assert read_rgb(encoded).size == (100, 80)
    assert data_uri(white()).startswith("data:image/jpeg;base64,")
    grey = io.BytesIO()
    Image.new("LA", (3, 4)).save(grey, "PNG")
    assert read_rgb(grey.getvalue()).mode == "RGB"
    with pytest.raises(DataError, match=r"x\.jpg: not an image"):
        read_rgb(encoded[:50], source="x.jpg")
