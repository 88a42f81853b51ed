"""Mistakes of exporters, seen in the counts of a whole data set."""

import collections

import pytest

from pix2seq_model.data.annotations import parse_annotation_row
from pix2seq_model.data.likely_causes import (
    box_signs,
    likely_causes,
    same_names,
    wrong_boxes,
)

HEIGHT, WIDTH = 480, 640
CORNERS = [(20, 30, 60, 90), (300, 200, 500, 400), (350, 10, 630, 470), (600, 400, 640, 480)]


def xywh(x0, y0, x1, y1):
    return [x0, y0, x1 - x0, y1 - y0]


def sentences(boxes, areas=None):
    signs = collections.Counter()
    for number, box in enumerate(boxes):
        raw = {"image_id": 1, "category_id": 1, "bbox": box, "area": areas and areas[number]}
        signs.update(box_signs([parse_annotation_row(raw, 0)], height=HEIGHT, width=WIDTH))
    return list(wrong_boxes(signs))


def test_sound_boxes_are_left_alone():
    assert sentences([xywh(*corners) for corners in CORNERS]) == []
    # One large object in each image, drawn a little over its edge.
    assert sentences([[5, 5, 640, 480], [10, 20, 636, 470]] * 9) == []
    assert sentences([[1, 2, 3], ["a"] * 4, [None] * 4]) == []
    assert sentences([]) == []


def test_fractions():
    shares = [[x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT] for x, y, w, h in map(list, CORNERS)]
    (text,) = sentences(shares)
    assert "4 of 4 boxes lie between 0 and 1" in text
    assert "in pixels" in text
    assert sentences([*shares[:1], *(xywh(*corners) for corners in CORNERS)]) == []


def test_corners_by_the_edges():
    (text,) = sentences([list(corners) for corners in CORNERS])
    assert "3 of 4 boxes" in text
    assert "4 lie inside as [x1, y1, x2, y2]" in text


def test_corners_by_their_areas():
    boxes = [[10, 20, 50, 60], [30, 40, 130, 140]]
    assert len(sentences(boxes, [40 * 40, 100 * 100])) == 1
    assert sentences(boxes, [50 * 60, 130 * 140]) == []
    assert sentences(boxes) == []


def counts(images=10, annotations=20, **dropped):
    return {
        "images": {"rows_in": images, "dropped": dropped},
        "annotations": {"rows_in": annotations, "dropped": {}},
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"counts": counts(), "objects": 20, "crowds": 1}, ""),
        ({"counts": counts(image_duplicate_id=6), "objects": 4, "crowds": 0}, "one row for each"),
        ({"counts": counts(image_duplicate_file=6), "objects": 4, "crowds": 0}, "6 of 10 rows"),
        ({"counts": counts(), "objects": 0, "crowds": 20}, "all of the 20 boxes are crowds"),
        ({"counts": counts(annotations=0), "objects": 0, "crowds": 0}, "has no annotations"),
        (
            {"counts": counts(annotations=0), "objects": 0, "crowds": 0, "missing_list": "x"},
            "x",
        ),
    ],
)
def test_causes(given, words):
    given = dict(given)
    text = " ".join(likely_causes(given.pop("counts"), **given))
    assert words in text
    assert bool(words) == bool(text)


def test_categories_of_one_name():
    rows = [
        {"id": 1, "name": "cat", "source_id": "a"},
        {"id": 2, "name": "Cat ", "source_id": "b"},
        {"id": 3, "name": "dog"},
    ]
    (text,) = same_names(rows)
    assert text.startswith("categories a, b are all called 'cat'")
    assert list(same_names(rows[1:])) == []
