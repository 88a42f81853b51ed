import pytest

from pix2seq_model.data.formats.open_images import is_boxes, parse_boxes, parse_class_names

HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"
NAMES = {"/m/1": "Cat"}


def test_the_header():
    assert is_boxes(f"\ufeff{HEADER}\r\n")
    assert not is_boxes("ImageID,LabelName")


def test_rows():
    rows = [
        "a,xclick,/m/1,1,0.1,0.5,0.2,0.6,0",
        "a,xclick,/m/1,1,0,1,0,1,1",
        "b,verification,/m/1,0,0,1,0,1,0",
        "b,xclick,/m/2,1,0.1,x,0.2,0.6,0",
    ]
    found = list(parse_boxes([HEADER, *rows], NAMES))
    assert [image for image, _ in found] == ["a", "a", "b"]
    first, group, broken = (box for _, box in found)
    assert first == ("Cat", (0.1, 0.2, 0.5, 0.6), False, "")
    assert group.is_crowd
    assert broken.label == "/m/2"
    assert broken.problem == "line 5: 'x' is not a number"


def test_names_of_the_classes():
    assert parse_class_names(["LabelName,DisplayName", '/m/1,"Cat, small"']) == {
        "/m/1": "Cat, small"
    }


def test_a_quotation_mark_that_nothing_closes():
    """What follows is one field, and the module csv has an error of its own for its size."""
    for lines in ([HEADER, "a,xclick,/m/1", '"b' + "x" * 140_000], ['"' + "x" * 140_000]):
        with pytest.raises(ValueError, match=r"near line \d: field larger .*mark not closed\?"):
            list(parse_boxes(lines, NAMES))
        with pytest.raises(ValueError, match=r"mark not closed"):
            parse_class_names(lines)
