import pytest

from pix2seq_model.data.formats.labelme import is_labelme, parse_labelme


def box(**shape):
    content = {"imagePath": "a.jpg", "imageWidth": 40, "imageHeight": 20, "shapes": [shape]}
    assert is_labelme(content)
    image = parse_labelme(content)
    assert (image.file_name, image.width, image.height) == ("a.jpg", 40, 20)
    return image.boxes[0]


@pytest.mark.parametrize(
    ("kind", "points", "corners"),
    [
        ("rectangle", [[9, 8], [1, 2]], (1, 2, 9, 8)),
        ("polygon", [[1, 2], [9, 3], [4, 8]], (1, 2, 9, 8)),
        (None, [[1, 2], [9, 3], [4, 8]], (1, 2, 9, 8)),
        ("circle", [[10, 10], [13, 14]], (5, 5, 15, 15)),
        ("mask", [[1, 2], [9, 8]], (1, 2, 9, 8)),
    ],
)
def test_shapes(kind, points, corners):
    found = box(label=" cat ", points=points, shape_type=kind)
    assert (found.label, found.corners, found.problem) == ("cat", corners, "")


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ({"label": "cat", "points": [[1, 2]], "shape_type": "point"}, "a point with 1 points"),
        ({"label": "cat", "points": [[1, 2], [3, 4]], "shape_type": "line"}, "a line with 2"),
        ({"label": "cat", "points": [[1, 2]], "shape_type": "rectangle"}, "rectangle with 1"),
        ({"label": "cat", "points": "x", "shape_type": "rectangle"}, "points are 'x'"),
        ({"points": [[1, 2]]}, "without a label"),
    ],
)
def test_shapes_that_have_no_box(shape, problem):
    assert problem in box(**shape).problem


def test_other_content():
    assert not is_labelme([])
    assert not is_labelme({"shapes": 3})
