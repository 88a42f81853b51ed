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


def is_voc(start: str) -> bool:
    """Whether a file that begins so is one of VOC's."""
    return "<annotation>" in start or "<annotation " in start


def parse_voc(content: bytes) -> LabelledImage | None:
    """Reads one file, None if it is other XML; `file_name` is empty where it names none.

    Objects marked difficult are objects like others. Parts of objects are left out.

    Raises:
      ValueError: the content is no XML.
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"no XML that can be read: {error}") from None
    if root.tag != "annotation":
        return None
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
