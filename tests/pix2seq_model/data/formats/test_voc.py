import pytest

from pix2seq_model.data.formats.voc import is_voc, parse_voc

OBJECT = (
    "<object><name> cat </name><difficult>1</difficult><bndbox><xmax>9.5</xmax><ymax>8</ymax>"
    "<xmin>1</xmin><ymin>2</ymin></bndbox><part><name>ear</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"
)


def parsed(objects, size="<size><width>40</width><height>20</height></size>"):
    text = f"<annotation><filename>a b.jpg</filename>{size}{objects}</annotation>"
    return parse_voc(text.encode())


def test_an_object_with_a_part():
    image = parsed(OBJECT)
    assert (image.file_name, image.width, image.height) == ("a b.jpg", 40, 20)
    assert [(box.label, box.corners) for box in image.boxes] == [("cat", (1, 2, 9.5, 8))]
    assert not image.in_fractions


def test_sizes_that_the_file_must_say():
    for size in ("", "<size><width>0</width><height>0</height></size>"):
        assert parsed("", size)[1:3] == (0, 0)


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("<object><bndbox/></object>", "no <name>"),
        ("<object><name>cat</name><polygon/></object>", "no <bndbox>; it has <name>, <polygon>"),
        ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", "'' is not a number"),
    ],
)
def test_objects_that_cannot_be_used(node, problem):
    assert problem in parsed(node).boxes[0].problem


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<annotation><object>", "no XML that can be read"),
        (b"", "no XML that can be read"),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', "no XML that can be read"),
    ],
)
def test_files_that_are_none(content, reason):
    with pytest.raises(ValueError, match=reason):
        parse_voc(content)


def test_other_xml():
    assert parse_voc(b"<annotations/>") is None


def test_the_start_of_a_file():
    assert is_voc('<?xml version="1.0"?>\n<annotation verified="yes">')
    assert not is_voc("<annotations><image>")


def test_other_encodings():
    text = '<?xml version="1.0" encoding="{}"?><annotation><filename>é.jpg</filename></annotation>'
    for encoding in ("utf-8", "latin-1", "utf-16"):
        assert parse_voc(text.format(encoding).encode(encoding)).file_name == "é.jpg"
