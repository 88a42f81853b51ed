import pytest

from pix2seq_model.data.formats.label_studio import is_task, parse_task

VALUE = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
SIZE = {"original_width": 200, "original_height": 100}
RESULT = {"type": "rectanglelabels", "value": VALUE, **SIZE}


def task(*results, **annotation):
    return {"data": {"image": "/data/a.png"}, "annotations": [{"result": [*results], **annotation}]}


def test_a_rectangle():
    image = parse_task(task(RESULT))
    assert image[:3] == ("/data/a.png", 100, 200)
    assert image.in_fractions
    assert image.boxes[0].label == "cat"
    assert image.boxes[0].corners == pytest.approx((0.1, 0.2, 0.4, 0.6))


def test_the_short_form():
    row = {"image": "/data/a.png", "id": 1, "label": [{**VALUE, **SIZE}]}
    assert is_task(row)
    assert parse_task(row) == parse_task(task(RESULT))


def test_a_turned_rectangle_is_the_box_around_it():
    """A quarter turn around the first corner: 60 x 40 px become 40 x 60 to its left."""
    value = {**VALUE, "rotation": 90}
    corners = parse_task(task({**RESULT, "value": value})).boxes[0].corners
    assert corners == pytest.approx(((20 - 40) / 200, 20 / 100, 20 / 200, (20 + 60) / 100))


def test_polygons_and_ellipses():
    polygon = {"points": [[10, 20], [50, 30], [20, 60]], "polygonlabels": ["cat"]}
    ellipse = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["dog"]}
    boxes = parse_task(task({"value": polygon, **SIZE}, {"value": ellipse, **SIZE})).boxes
    assert boxes[0].corners == pytest.approx((0.1, 0.2, 0.5, 0.6))
    assert boxes[1].corners == pytest.approx((0.4, 0.3, 0.6, 0.7))


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({**RESULT, "value": {**VALUE, "rectanglelabels": ["cat", "dog"]}}, "has 2 labels"),
        ({**RESULT, "value": {"x": 1}}, "has 0 labels"),
        ({**RESULT, "value": {**VALUE, "width": None}}, "None is not a number"),
        ({**RESULT, "image_rotation": 90}, "image_rotation is 90"),
        ({**RESULT, "value": {"brushlabels": ["cat"], "rle": [1]}}, "has no box"),
    ],
)
def test_results_that_cannot_be_used(result, problem):
    assert problem in parse_task(task(result)).boxes[0].problem


def test_answers_about_the_whole_image_are_no_boxes():
    assert parse_task(task({"type": "choices", "value": {"choices": ["indoor"]}})).boxes == []


def test_a_place_and_its_label_in_two_results():
    """As `<Rectangle>` and `<Labels>` give it; a number about the object is no box either."""
    place = {key: VALUE[key] for key in ("x", "y", "width", "height", "rotation")}
    results = [
        {"id": "a", "type": "rectangle", "value": place, **SIZE},
        {"id": "a", "type": "labels", "value": {**place, "labels": ["cat"]}, **SIZE},
        {"id": "a", "type": "number", "value": {"number": 3}, **SIZE},
        {"id": "b", "type": "rectangle", "value": place, **SIZE},
    ]
    first, second = parse_task(task(*results)).boxes
    assert first.label == "cat"
    assert first.corners == pytest.approx((0.1, 0.2, 0.4, 0.6))
    assert second.problem == "result b has 0 labels"


def test_who_labelled_it():
    assert parse_task({"data": {"image": "a"}, "annotations": []}) is None
    assert parse_task(task(RESULT, was_cancelled=True)) is None
    twice = task(RESULT)
    twice["annotations"] *= 2
    assert parse_task(twice).problem.startswith("2 annotations of one image")
    twice["annotations"] = [*twice["annotations"], {"result": [], "ground_truth": True}]
    assert parse_task(twice).problem == ""


@pytest.mark.parametrize("row", [{}, [], {"image": "a", "label": "x"}, {"bbox": [1], "score": 1}])
def test_other_rows(row):
    assert not is_task(row)
