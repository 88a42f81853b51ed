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
