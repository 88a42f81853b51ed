"""Which texts can be drawn, and by which font."""

import numpy as np
import pytest
from PIL import Image

from pix2seq_model.reports import drawing
from pix2seq_model.reports.fonts import font_for, is_drawable


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("traffic light 2", "Aileron"),
        ("Ampel für Fußgänger", "DejaVu Sans"),
        ("Грузовик", "DejaVu Sans"),
        ("φορτηγό", "DejaVu Sans"),
        ("شاحنة", "DejaVu Sans"),
    ],
)
def test_scripts_that_a_font_has(text, family):
    assert is_drawable(text)
    font = font_for(text, 14)
    assert font.getname()[0].startswith(family)
    assert font.size == 14


def test_a_name_that_no_font_has_is_the_id():
    names = {3: "信号機", 4: "Грузовик", 5: " "}
    rows = [{"category_id": n, "bbox": [1, 1, 8, 8], "score": 0.5} for n in (3, 4, 5, 6)]
    assert not is_drawable(names[3])
    texts = [box.text for box in drawing.detection_boxes(rows, names)]
    assert texts == ["class 3 0.50", "Грузовик 0.50", "class 5 0.50", "class 6 0.50"]
    assert drawing.truth_boxes(rows[:1], names)[0].text == "class 3"
    # All of it can be drawn, with what could not in a caption, too.
    image = Image.new("RGB", (60, 60))
    drawn = drawing.draw_boxes(image, drawing.detection_boxes(rows, names))
    assert np.asarray(drawn).any()
    drawing.contact_sheet([drawn], captions=["信号機.jpg"])
