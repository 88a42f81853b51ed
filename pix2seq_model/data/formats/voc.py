"""Pascal VOC: one XML file for each image.

Corners are taken as written: tools of today count from 0, VOC itself from 1, no file says which.
"""

import xml.etree.ElementTree as ElementTree

from pix2seq_model.data.formats.labelled_image import (
    LabelledBox,
    LabelledImage,
    number,
    pixels,
)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def is_voc(start: bytes) -> bool:
    """Whether a file with these first bytes is one of VOC's."""
    return b"<annotation>" in start or b"<annotation " in start


def parse_voc(content: bytes) -> LabelledImage:
    """Reads one file; `file_name` is empty where it names none.

    Objects marked difficult are objects like others. Parts of objects are left out.

    Raises:
      ValueError: the content is no XML of VOC's.
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"no XML that can be read: {error}") from None
    if root.tag != "annotation":
        raise ValueError(f"its outermost element is <{root.tag}>, not <annotation>")
    return LabelledImage(
        file_name=_text(root, "filename"),
        height=pixels(_text(root, "size/height")),
        width=pixels(_text(root, "size/width")),
        boxes=[_box(node) for node in root.findall("object")],
    )


def _text(node: ElementTree.Element, path: str) -> str:
    return (node.findtext(path) or "").strip()


def _box(node: ElementTree.Element) -> LabelledBox:
    label = _text(node, "name")
    if not label:
        return LabelledBox("", problem="<object> has no <name>")
    if node.find("bndbox") is None:
        has = ", ".join(f"<{child.tag}>" for child in node)
        return LabelledBox(label, problem=f"<object> has no <bndbox>; it has {has}"[:200])
    try:
        return LabelledBox(label, tuple(number(_text(node, f"bndbox/{c}")) for c in _CORNERS))
    except ValueError as error:
        return LabelledBox(label, problem=f"<bndbox>: {error}")
